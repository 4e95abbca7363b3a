"""The committed weights of lmx/guide, asked only what training never saw. Training itself is not run here."""

import random
import re

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from training import model as shape
from training.corpus import OTHER, TOPICS, Corpus
from training.evaluate import (
    Guide,
    baseline_score,
    everyday,
    held_out_samples,
    in_context,
    many,
    other_questions,
    other_samples,
    score,
    unseen_toolbox,
)
from training.held_out import held_out, load_topics
from training.sample import Renderer, thinking
from training.tokenizer import chat_template
from training.tools import ToolMaker
from training.train import GUIDE
from training.variation import normal
from training.words import banks


@pytest.fixture(scope="module")
def guide() -> Guide:
    mx.set_default_device(mx.cpu)
    return Guide()


def corpus(seed: int) -> Corpus:
    return Corpus.load(seed, ToolMaker(random.Random(seed), banks()[0]))


class TestFiles:
    def test_are_small(self) -> None:
        assert (GUIDE / "model.safetensors").stat().st_size <= 8_000_000

    def test_hold_a_qwen3_of_the_promised_size(self, guide: Guide) -> None:
        count = sum(weight.size for _, weight in tree_flatten(guide.model.parameters()))
        assert guide.model.model_type == "qwen3"
        assert 700_000 <= count <= 2_000_000

    def test_let_mlx_lm_find_thinking_and_tools(self, guide: Guide) -> None:
        tokenizer = guide.tokenizer
        assert tokenizer.has_thinking
        assert tokenizer.tool_call_start == "<tool_call>"
        assert tokenizer.tool_parser('{"name": "a", "arguments": {}}') == {"name": "a", "arguments": {}}
        assert tokenizer.decode(sorted(tokenizer.eos_token_ids)) == "<|endoftext|><|im_end|>"

    def test_carry_the_template_that_training_used(self, guide: Guide) -> None:
        assert guide.tokenizer.chat_template == chat_template()

    def test_tokenizer_loses_nothing(self, guide: Guide) -> None:
        for topic in load_topics(TOPICS):
            for text in (topic.answer, topic.thought, *topic.phrasings):
                assert guide.tokenizer.decode(guide.tokenizer.encode(text)) == text
        odd = '  tab\tend é漢🙂 a1b2 C:\\x <think> {"name": "y"}\n\n'
        assert guide.tokenizer.decode(guide.tokenizer.encode(odd)) == odd

    def test_names_and_values_are_the_same_tokens_everywhere(self, guide: Guide) -> None:
        encode = guide.tokenizer.encode
        inner = encode("Reykjavik")
        quoted, spaced = encode('"Reykjavik"'), encode("in Reykjavik?")
        assert inner == quoted[1:-1] == spaced[-len(inner) - 1 : -1]


class TestTraining:
    def test_never_sees_a_held_out_question(self) -> None:
        topics = load_topics(TOPICS)
        kept = {normal(text) for topic in topics for text in held_out(topic)}
        kept |= {normal(text) for text in other_questions()}
        made = corpus(1)
        assert not kept & {normal(text) for text in made.training_texts()}
        for sample in many(made.question, 3000):
            assert normal(sample.messages[-1]["content"]) not in kept

    def test_never_sees_the_words_kept_for_tests(self) -> None:
        made = corpus(2)
        kept = {"get_weather", "Paris", "Tokyo"}
        for sample in many(made.tool_use, 500):
            assert not kept & set(re.findall(r"\w+", sample.answer))
            assert not kept & {tool["function"]["name"] for tool in sample.tools}

    def test_is_the_same_for_the_same_seed(self) -> None:
        assert many(corpus(3).question, 50) == many(corpus(3).question, 50)
        assert many(corpus(3).tool_use, 50) == many(corpus(3).tool_use, 50)

    def test_renders_as_the_shipped_template_does(self, guide: Guide) -> None:
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

    def test_forward_pass_is_that_of_mlx_lm(self, guide: Guide) -> None:
        ids = mx.array([guide.tokenizer.encode("How do I start lmx?")])
        states = shape.hidden(guide.model, ids)
        ours = states @ guide.model.model.embed_tokens.weight.T
        assert mx.allclose(ours, guide.model(ids), rtol=1e-3, atol=1e-3)


class TestAnswers:
    def test_held_out_questions(self, guide: Guide) -> None:
        result = score("held out", guide, held_out_samples())
        right, total = baseline_score(pairs=False)
        assert result.share >= 0.75
        assert result.share > right / total

    def test_in_a_conversation(self, guide: Guide) -> None:
        assert score("in context", guide, in_context()).share >= 0.6

    def test_other_things_get_the_one_answer(self, guide: Guide) -> None:
        assert score("other", guide, other_samples()).share >= 0.8

    def test_thinks_when_asked(self, guide: Guide) -> None:
        samples = held_out_samples(think=True)[::6]
        assert score("thinking", guide, samples).share >= 0.6
        topic = next(topic for topic in load_topics(TOPICS) if topic.id != OTHER)
        assert samples[0].output == thinking(topic.thought) + topic.answer

    def test_calls_tools_it_has_never_seen(self, guide: Guide) -> None:
        assert score("calls", guide, many(unseen_toolbox().call, 100)).share >= 0.35

    def test_calls_everyday_tools(self, guide: Guide) -> None:
        assert score("everyday", guide, everyday()).share >= 0.7

    def test_tells_a_tool_result(self, guide: Guide) -> None:
        assert score("results", guide, many(unseen_toolbox().follow_up, 60)).share >= 0.7
