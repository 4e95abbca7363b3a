"""Facts of the guide: answers name only what exists, and they change with the code that they are about."""

import re
from dataclasses import replace

import msgspec
import pytest

from training.facts.facts import CheckoutFacts, CommandFact, facts
from training.facts.generated import PREFIX, filled, with_generated
from training.facts.mentions import SPAN, fault_of, faults_of
from training.facts.topics import TOPICS, all_topics
from training.held_out import Topic, load_topics


@pytest.fixture(scope="module")
def known() -> CheckoutFacts:
    return facts()


def answers(topics: list[Topic]) -> dict[str, str]:
    return {topic.id: topic.answer for topic in topics}


class TestNames:
    def test_answers_name_only_what_exists(self, known: CheckoutFacts) -> None:
        written = [topic for topic in all_topics() if not topic.id.startswith(PREFIX)]
        faults = {topic.id: found for topic in written if (found := faults_of(topic.answer, known))}
        assert faults == {}, "bring these topics up to date"

    def test_generated_answers_name_only_what_exists(self, known: CheckoutFacts) -> None:
        generated = [topic for topic in all_topics() if topic.id.startswith(PREFIX)]
        spans = {(topic.id, span) for topic in generated for span in SPAN.findall(topic.answer)}
        assert {place: fault for place in spans if (fault := fault_of(place[1], known))} == {}
        assert len(generated) > 50

    @pytest.mark.parametrize(
        "answer",
        [
            "Run `lmx teleport`.",
            "Run `lmx key destroy ID`.",
            "Run `lmx serve --prot 1235`.",
            "Run `lmx serve -z`.",
            "Add `--jsonn` to a command.",
            "Set `server.prot`.",
            "Set `traces.colour`.",
            "Press `ctrl+b`.",
            "Press `F9`.",
            "Press `@` in the TUI.",
            "POST to `/v1/embeddings`.",
            "The base is `http://127.0.0.1:1234/v7`.",
            "Set `LMX_NOTHING`.",
            "The file is `~/.lmx/nothing.toml`.",
            "Send `temprature`.",
        ],
    )
    def test_name_that_does_not_exist_is_reported(self, known: CheckoutFacts, answer: str) -> None:
        (fault,) = faults_of(answer, known)
        assert "has to stand" not in fault

    @pytest.mark.parametrize(
        "answer",
        [
            "Run lmx pull ID.",
            "Add --json.",
            "Press ctrl+q.",
            "POST to /v1/models now",
            "Set LMX_HOME.",
            "See [server].",
        ],
    )
    def test_name_without_backticks_is_reported(self, known: CheckoutFacts, answer: str) -> None:
        assert "between backticks" in faults_of(answer, known)[0]

    @pytest.mark.parametrize(
        "answer",
        [
            "Run `lmx serve --port=1235 --detach` or `lmx -h`.",
            "Run `lmx launch claude -- --continue`, `lmx server start` or `lmx help load`.",
            "`ctrl+q`, `/`, `F2`, `/v1/models/ID`, `/v1`, `/clear` and `server.port` exist.",
            "lmx runs models, and `uv tool install .` installs it.",
        ],
    )
    def test_names_that_exist_are_accepted(self, known: CheckoutFacts, answer: str) -> None:
        assert faults_of(answer, known) == []


class TestChanges:
    """A change of the code changes the topics."""

    def test_help_of_a_command_is_its_answer(self, known: CheckoutFacts) -> None:
        command = replace(known.commands["requests export"], summary="Write a request as a poem")
        changed = replace(known, commands={**known.commands, command.path: command})
        (start, _, end) = answers(with_generated([], changed))["command requests export"].partition(" write ")
        assert (start, end.split(".")[0]) == ("`lmx requests export REQUEST`:", "a request as a poem")

    def test_new_command_has_a_topic(self, known: CheckoutFacts) -> None:
        command = CommandFact("fly", "Fly away", frozenset({"--high"}), frozenset(), ())
        changed = replace(known, commands={**known.commands, "fly": command})
        found = {topic.id: topic for topic in with_generated([], changed)}["command fly"]
        assert "how do I fly away" in found.phrasings and "--high" in found.keywords

    def test_default_of_a_setting_fills_written_and_generated_answers(self, known: CheckoutFacts) -> None:
        key = msgspec.structs.replace(known.settings["server.max_queued"], default=7)
        changed = replace(known, settings={**known.settings, "server.max_queued": key})
        assert filled("It is <default server.max_queued>.", changed) == "It is 7."
        assert "Default: 7." in answers(with_generated([], changed))["setting server.max_queued"]

    def test_key_of_a_binding_fills_an_answer(self, known: CheckoutFacts) -> None:
        changed = replace(known, keys={**known.keys, "models.filter": ("f",)})
        written = answers(with_generated(load_topics(TOPICS), changed))["tui-filter"]
        assert "press `f` and type" in written

    def test_answer_lists_every_agent_that_launch_starts(self, known: CheckoutFacts) -> None:
        answer = filled("`lmx launch` starts <agents>.", known)
        assert re.findall(r"[a-z]+", answer.partition("starts ")[2]) == [*known.agents[:-1], "or", known.agents[-1]]
        assert any(set(known.agents) <= set(re.findall(r"[a-z]+", topic.answer)) for topic in all_topics())

    def test_binding_and_setting_that_do_not_exist_raise(self, known: CheckoutFacts) -> None:
        for answer in ("<key models.explode>", "<default server.prot>"):
            with pytest.raises(LookupError):
                filled(answer, known)

    def test_command_with_a_written_answer_has_no_generated_topic(self, known: CheckoutFacts) -> None:
        topic = Topic("a", "`lmx requests export ID` prints a request.", "", ["a", "b"], [])
        assert "command requests export" not in answers(with_generated([topic], known))


def test_questions_have_one_topic_each() -> None:
    written = [topic for topic in all_topics() if not topic.id.startswith(PREFIX)]
    owners: dict[str, str] = {}
    for topic in written:
        for text in topic.phrasings:
            assert owners.setdefault(text, topic.id) == topic.id, text
