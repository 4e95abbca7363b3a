"""Answers of the committed weights of lmx/guide to held-out samples. The training itself is not run here."""

import random
import re
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from training import model as shape
from training.batches import Batches
from training.corpus import Corpus
from training.evaluate import (
    everyday,
    in_context,
    many,
    other_questions,
    score,
    unseen_toolbox,
)
from training.facts.topics import all_topics
from training.held_out import held_out
from training.inference import GUIDE, Guide
from training.plan import GUIDE_PLAN
from training.record import OTHER, TrainingRecord
from training.sample import Renderer, thinking
from training.tokenizer import chat_template
from training.tools import ToolMaker
from training.variation import normal
from training.words import banks


@pytest.fixture(scope="module")
def guide() -> Guide:
    mx.set_default_device(mx.cpu)
    return Guide()


@pytest.fixture(scope="module")
def record() -> TrainingRecord:
    return TrainingRecord.read()


def corpus(seed: int) -> Corpus:
    return Corpus.load(seed, ToolMaker(random.Random(seed), banks()[0]))


class TestFiles:
    def test_weights_are_at_most_24_mb(self) -> None:
        assert (GUIDE / "model.safetensors").stat().st_size <= 24_000_000

    def test_model_is_a_qwen3_of_at_most_8_million_parameters(self, guide: Guide) -> None:
        count = sum(weight.size for _, weight in tree_flatten(guide.model.parameters()))
        assert guide.model.model_type == "qwen3"
        assert 700_000 <= count <= 8_000_000

    def test_mlx_lm_detects_thinking_and_tools(self, guide: Guide) -> None:
        tokenizer = guide.tokenizer
        assert tokenizer.has_thinking
        assert tokenizer.tool_call_start == "<tool_call>"
        assert tokenizer.tool_parser('{"name": "a", "arguments": {}}') == {"name": "a", "arguments": {}}
        assert tokenizer.decode(sorted(tokenizer.eos_token_ids)) == "<|endoftext|><|im_end|>"

    def test_chat_template_is_that_of_training(self, guide: Guide) -> None:
        assert guide.tokenizer.chat_template == chat_template()

    def test_tokenizer_is_lossless(self, guide: Guide) -> None:
        for topic in all_topics():
            for text in (topic.answer, topic.thought, *topic.phrasings):
                assert guide.tokenizer.decode(guide.tokenizer.encode(text)) == text
        odd = '  tab\tend é漢🙂 a1b2 C:\\x <think> {"name": "y"}\n\n'
        assert guide.tokenizer.decode(guide.tokenizer.encode(odd)) == odd

    def test_names_and_values_are_the_same_tokens_in_every_context(self, guide: Guide) -> None:
        encode = guide.tokenizer.encode
        inner = encode("Reykjavik")
        quoted, spaced = encode('"Reykjavik"'), encode("in Reykjavik?")
        assert inner == quoted[1:-1] == spaced[-len(inner) - 1 : -1]


class TestRecord:
    def test_record_holds_what_the_topics_held_out_when_the_weights_were_trained(self, record: TrainingRecord) -> None:
        assert len(record.held_out_samples()) == 2 * len(record.topics) > 200
        assert not {topic.id for topic in record.topics} & {OTHER}

    def test_changed_answer_is_named(self, record: TrainingRecord) -> None:
        first, *rest = record.topics
        now = TrainingRecord([replace(first, answer="another"), *rest[1:]], record.other)
        assert record.changed(now) == sorted([first.id, rest[0].id])
        assert record.changed(record) == []

    def test_record_is_read_as_it_was_written(self, record: TrainingRecord, tmp_path: Path) -> None:
        record.write(tmp_path / "trained.json")
        assert TrainingRecord.read(tmp_path / "trained.json") == record


class TestTraining:
    def test_training_samples_contain_no_held_out_question(self) -> None:
        topics = all_topics()
        kept = {normal(text) for topic in topics for text in held_out(topic)}
        kept |= {normal(text) for text in other_questions()}
        made = corpus(1)
        assert not kept & {normal(text) for text in made.training_texts()}
        for sample in many(made.question, 3000):
            assert normal(sample.messages[-1]["content"]) not in kept

    def test_training_samples_contain_no_held_out_word(self) -> None:
        made = corpus(2)
        unseen = banks()[1]
        words = {"subway", "thermostat", "kiosk", "turbine"}
        kept = {*words, *(place for place in unseen.places if " " not in place)}
        assert words <= set(unseen.nouns)
        for sample in many(made.tool_use, 500):
            assert not kept & set(re.findall(r"[A-Za-z]+", sample.messages[-1]["content"]))
            names = {name for tool in sample.tools for name in re.findall(r"[a-z]+", tool["function"]["name"])}
            assert not words & names

    def test_answers_that_a_schema_constrains_weigh_their_values_only(self, guide: Guide) -> None:
        batches = Batches(corpus(5), Renderer(guide.tokenizer.backend_tokenizer), GUIDE_PLAN)
        output = '{"city": "Lima", "days": 3}'
        ids = guide.tokenizer.encode(output + "<|im_end|>", add_special_tokens=False)
        weights = batches.weights_of_values(output)
        assert len(weights) == len(ids)
        weighted = "".join(guide.tokenizer.decode([id]) for id, weight in zip(ids, weights, strict=True) if weight)
        assert "Lima" in weighted and "3" in weighted and "city" not in weighted and "days" not in weighted

    def test_samples_are_reproducible_by_seed(self) -> None:
        assert many(corpus(3).question, 50) == many(corpus(3).question, 50)
        assert many(corpus(3).tool_use, 50) == many(corpus(3).tool_use, 50)

    def test_prompts_match_the_shipped_template(self, guide: Guide) -> None:
        renderer = Renderer(guide.tokenizer.backend_tokenizer)
        made = corpus(4)
        for sample in [*many(made.tool_use, 40), *many(made.question, 40)]:
            prompt = guide.tokenizer.apply_chat_template(
                sample.messages,
                tools=sample.tools or None,
                add_generation_prompt=True,
                enable_thinking=sample.thought is not None,
            )
            assert renderer.encode(sample)[0] == prompt

    def test_forward_pass_matches_mlx_lm(self, guide: Guide) -> None:
        ids = mx.array([guide.tokenizer.encode("How do I start lmx?")])
        states = shape.hidden(guide.model, ids)
        ours = states @ guide.model.model.embed_tokens.weight.T
        assert mx.allclose(ours, guide.model(ids), rtol=1e-3, atol=1e-3)


@pytest.mark.timeout(900)
class TestAnswers:
    def test_held_out_questions_are_answered(self, guide: Guide, record: TrainingRecord) -> None:
        assert score("held out", guide, record.held_out_samples()).share >= 0.75

    def test_held_out_questions_are_answered_in_a_conversation(self, guide: Guide, record: TrainingRecord) -> None:
        assert score("in context", guide, in_context(record)).share >= 0.6

    def test_questions_about_other_subjects_get_the_fixed_answer(self, guide: Guide, record: TrainingRecord) -> None:
        assert score("other", guide, record.other_samples()).share >= 0.8

    def test_held_out_questions_are_answered_with_thinking(self, guide: Guide, record: TrainingRecord) -> None:
        samples = record.held_out_samples(think=True)[::6]
        assert score("thinking", guide, samples).share >= 0.6
        assert samples[0].output == thinking(record.topics[0].thought) + record.topics[0].answer

    def test_unseen_tools_are_called(self, guide: Guide) -> None:
        assert score("calls", guide, many(unseen_toolbox().call, 100)).share >= 0.35

    def test_everyday_tools_are_called(self, guide: Guide) -> None:
        assert score("everyday", guide, everyday()).share >= 0.7

    def test_tool_results_are_quoted(self, guide: Guide) -> None:
        assert score("results", guide, many(unseen_toolbox().follow_up, 60)).share >= 0.7
