"""Evaluation cases: tools of documentations, questions of strangers, and JSON whose keys are enforced."""

import json
import random

import pytest

from training.cases import StrangerQuestion, documentations, strangers
from training.corpus import Corpus
from training.evaluate import parsed, unseen_toolbox
from training.facts.topics import all_topics
from training.first_tools import FirstTools
from training.inference import value_of
from training.tools import ToolMaker, listed
from training.variation import normal
from training.words import Values, banks


def test_each_documentation_has_calls_whose_arguments_the_tool_has() -> None:
    found = documentations()
    assert {"OpenAI", "Anthropic", "Ollama", "LM Studio", "Vercel AI", "LangChain", "llama.cpp"} == set(found)
    for sample in (each for samples in found.values() for each in samples):
        _, call = parsed(sample.answer)
        function = sample.tools[0]["function"]
        assert call["name"] == function["name"]
        assert set(call["arguments"]) <= set(function["parameters"]["properties"])


def test_no_question_of_a_stranger_and_no_request_of_a_documentation_is_trained_on() -> None:
    trained = {normal(text) for topic in all_topics() for text in (*topic.phrasings, *topic.keywords)}
    asked = {normal(question.text) for questions in strangers().values() for question in questions}
    assert not trained & asked
    requests = {normal(s.messages[-1]["content"]) for samples in documentations().values() for s in samples}
    corpus = Corpus.load(1, ToolMaker(random.Random(1), banks()[0]))
    assert not requests & {normal(corpus.tool_use().messages[-1]["content"]) for _ in range(1000)}


def test_strangers_ask_sixty_questions_with_expressions() -> None:
    found = strangers()
    assert len(found["reach"]) == 60 and len(found["other subjects"]) == 20
    question = StrangerQuestion("how", ("lmx (pull|get)", "model"))
    assert question.is_right("Run LMX PULL model.") and not question.is_right("Run lmx pull.")


def test_first_tools_state_the_arguments_of_the_call() -> None:
    rng = random.Random(3)
    maker = FirstTools(rng, Values(rng, banks()[0]))
    for _ in range(500):
        task = maker.task()
        parameters = task.tool["function"]["parameters"]
        assert set(parameters["required"]) <= set(task.arguments) <= set(parameters["properties"])
        assert "{" not in task.request
        assert all(str(value) in task.request for value in task.arguments.values())


def test_typed_sample_is_json_of_the_request() -> None:
    toolbox = unseen_toolbox()
    for _ in range(100):
        sample = toolbox.typed()
        for value in json.loads(sample.answer).values():
            assert isinstance(value, bool) or str(listed(value)) in sample.messages[-1]["content"]


@pytest.mark.parametrize(
    ("text", "is_text", "expected"),
    [
        ('Anna", "age": 3}', True, ("Anna", 'Anna"')),
        ("34, ", False, (34, "34")),
        ('["a", "b"]}', False, (["a", "b"], '["a", "b"]')),
        ("true}", False, (True, "true")),
        ("nothing", False, (None, "null")),
    ],
)
def test_value_is_read_up_to_its_end(text: str, is_text: bool, expected: object) -> None:
    assert value_of(text, is_text) == expected
