"""Evaluation of the committed guide with greedy decoding, on held-out samples only: `python -m training.evaluate`."""

import argparse
import json
import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from training.baseline import Neighbour
from training.cases import documentations, strangers
from training.corpus import Corpus
from training.facts.topics import TOPICS, all_topics
from training.held_out import held_out
from training.inference import GUIDE, Guide
from training.record import OTHER, TRAINED, TrainingRecord
from training.sample import Sample
from training.task import function
from training.tool_use import ToolSamples, user
from training.tools import ToolMaker
from training.variation import lessons
from training.words import banks

EVALUATION_SEED = 4711
UNSEEN_OPERATORS = {"add": ["plus", "+"]}


@dataclass(frozen=True)
class Score:
    """Result of one evaluation."""

    name: str
    right: int
    total: int
    misses: list[tuple[Sample, str]]

    @property
    def share(self) -> float:
        return self.right / self.total


def score(name: str, guide: Guide, samples: list[Sample]) -> Score:
    """Return the share of correct outputs.

    An output is correct if it equals the expected text, or if its tool call has the same name and arguments.
    """
    outputs = guide.answers(samples)
    misses = [(s, o) for s, o in zip(samples, outputs, strict=True) if not same(s.output, o)]
    return Score(name, len(samples) - len(misses), len(samples), misses)


def same(expected: str, got: str) -> bool:
    if expected == got.strip():
        return True
    call, made = parsed(expected), parsed(got)
    return call is not None and call == made


def parsed(text: str) -> Any:
    if "<tool_call>" not in text:
        return None
    before, _, rest = text.partition("<tool_call>")
    try:
        return before.strip(), json.loads(rest.partition("</tool_call>")[0])
    except ValueError:
        return None


def other_questions() -> list[str]:
    table = tomllib.loads((TOPICS / "other_held_out.toml").read_text())
    questions: list[str] = table["questions"]
    return questions


def unseen_toolbox(seed: int = EVALUATION_SEED) -> ToolSamples:
    return ToolSamples(ToolMaker(random.Random(seed), banks()[1], UNSEEN_OPERATORS, first=False))


def many(make: Callable[[], Sample], count: int) -> list[Sample]:
    return [make() for _ in range(count)]


def in_context(record: TrainingRecord, seed: int = EVALUATION_SEED) -> list[Sample]:
    """Return held-out questions after a system prompt or an earlier turn, or with tools that do not fit."""
    corpus = Corpus.load(seed, ToolMaker(random.Random(seed), banks()[1]))
    rng = random.Random(seed)
    made = []
    for sample in rng.sample(record.held_out_samples(), 60):
        way = rng.randrange(3)
        messages = [*(corpus.earlier(1.0) if way == 0 else []), *sample.messages]
        tools = [task.tool for task in corpus.toolbox.unrelated(None, rng.choice([1, 2]))] if way == 1 else []
        made.append(corpus.with_system(Sample(messages, sample.answer, tools), 1.0 if way == 2 else 0.0))
    return made


def everyday() -> list[Sample]:
    """Return requests with tools as in the first examples of documentation, with values that are not trained on."""
    made = []
    for case in tomllib.loads((Path(__file__).parent / "everyday.toml").read_text())["case"]:
        properties = json.loads(case["parameters"])
        tool = function(case["name"], case["description"], properties, list(properties))
        for request, arguments in case["requests"].items():
            call = json.dumps({"name": case["name"], "arguments": json.loads(arguments)})
            made.append(Sample([user(request)], f"<tool_call>\n{call}\n</tool_call>", [tool]))
    return made


def thought_of(sample: Sample) -> Sample:
    return Sample(sample.messages, sample.answer, sample.tools, "A tool fits: I call it.", sample.kind)


def measure(guide: Guide, record: TrainingRecord) -> list[Score]:
    toolbox = unseen_toolbox()
    calls = many(toolbox.call, 400)
    return [
        score("held-out questions", guide, record.held_out_samples()),
        score("held-out questions, thinking", guide, record.held_out_samples(think=True)),
        score("held-out questions, in a context", guide, in_context(record)),
        score("questions about other things", guide, record.other_samples()),
        *[
            score(f"tool calls, {count} unseen {'tool' if count == 1 else 'tools'}", guide, offered(calls, count))
            for count in (1, 2, 3)
        ],
        score("tool calls, thinking", guide, [thought_of(sample) for sample in calls[:60]]),
        score("tool calls, everyday tools", guide, everyday()),
        *[score(f"tool calls, {name}", guide, samples) for name, samples in documentations().items()],
        score("tool results quoted", guide, many(toolbox.follow_up, 100)),
        score_filled(guide, many(toolbox.typed, 60)),
    ]


def offered(samples: list[Sample], count: int) -> list[Sample]:
    return [sample for sample in samples if len(sample.tools) == count][:100]


def score_filled(guide: Guide, samples: list[Sample]) -> Score:
    """Return the share of JSON answers with the values of the request, where a schema enforces the keys."""
    outputs = guide.filled(samples)
    misses = [(s, json.dumps(o)) for s, o in zip(samples, outputs, strict=True) if json.loads(s.answer) != o]
    return Score("JSON of a schema filled", len(samples) - len(misses), len(samples), misses)


def measure_strangers(guide: Guide) -> list[Score]:
    """Return the scores on questions that are asked once, after the last change of the topics."""
    scores = []
    for name, questions in strangers().items():
        answers = guide.answers([question.sample for question in questions])
        wrong = [(q.sample, answer) for q, answer in zip(questions, answers, strict=True) if not q.is_right(answer)]
        scores.append(Score(f"strangers, {name}", len(questions) - len(wrong), len(questions), wrong))
    return scores


def glance(guide: Guide, record: TrainingRecord) -> dict[str, float]:
    """Return a few shares that take a minute, for the log of a training."""
    toolbox = unseen_toolbox()
    samples = {
        "questions": record.held_out_samples()[::6],
        "others": record.other_samples(),
        "calls": many(toolbox.call, 60),
        "everyday": everyday(),
        "results": many(toolbox.follow_up, 20),
    }
    return {name: round(score(name, guide, each).share, 3) for name, each in samples.items()}


def baseline_score(pairs: bool) -> tuple[int, int]:
    topics = list(all_topics())
    neighbour = Neighbour(lessons(topics), pairs)
    questions = [(text, topic.id) for topic in topics if topic.id != OTHER for text in held_out(topic)]
    return sum(neighbour.topic(text) == owner for text, owner in questions), len(questions)


def print_baseline() -> None:
    for pairs in (False, True):
        right, total = baseline_score(pairs)
        name = f"TF-IDF nearest neighbour, {'words and pairs' if pairs else 'words'}"
        print(f"| {name:40} | {right:3d} of {total:3d} | {right / total:6.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=GUIDE)
    parser.add_argument("--record", type=Path, default=TRAINED, help="what the weights were trained on")
    parser.add_argument("--strangers", action="store_true", help="ask the questions of strangers.toml instead")
    parser.add_argument("--misses", action="store_true", help="print the wrong outputs")
    chosen = parser.parse_args()
    mx.set_default_device(mx.cpu)
    guide = Guide(chosen.folder)
    scores = measure_strangers(guide) if chosen.strangers else measure(guide, TrainingRecord.read(chosen.record))
    for each in scores:
        print(f"| {each.name:40} | {each.right:3d} of {each.total:3d} | {each.share:6.1%} |")
    if not chosen.strangers:
        print_baseline()
    if chosen.misses:
        for each in scores:
            for sample, output in each.misses:
                print(f"{each.name}: {sample.messages[-1]['content']!r}\n  want {sample.output!r}\n  got  {output!r}")


if __name__ == "__main__":
    main()
