"""What a set of weights was trained to answer, kept beside the training code in trained.json.

The committed weights are compared with this record, not with the topics, so that a topic can change before the next
training.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from training.held_out import Topic, held_out
from training.sample import Sample
from training.tool_use import user

TRAINED = Path(__file__).parent / "trained.json"
OTHER = "only-lmx"
"""Id of the topic for questions about other subjects."""


@dataclass(frozen=True)
class TrainedTopic:
    """Answer and thought of a topic, and its questions that were held out from training."""

    id: str
    answer: str
    thought: str
    held_out: list[str]


@dataclass(frozen=True)
class TrainingRecord:
    """The topics of one training."""

    topics: list[TrainedTopic]
    other: TrainedTopic

    @classmethod
    def of(cls, topics: list[Topic], other_questions: list[str]) -> "TrainingRecord":
        """Return the record of a training on `topics`."""
        found = {topic.id: TrainedTopic(topic.id, topic.answer, topic.thought, held_out(topic)) for topic in topics}
        other = found.pop(OTHER)
        return cls(list(found.values()), TrainedTopic(OTHER, other.answer, other.thought, other_questions))

    @classmethod
    def read(cls, file: Path = TRAINED) -> "TrainingRecord":
        """Return the record in a file."""
        data = json.loads(file.read_text())
        return cls([TrainedTopic(**topic) for topic in data["topics"]], TrainedTopic(**data["other"]))

    def write(self, file: Path) -> None:
        """Write the record to a file."""
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    def held_out_samples(self, think: bool = False) -> list[Sample]:
        """Return the held-out questions with the answers that training gave them."""
        return [
            Sample([user(text)], topic.answer, thought=topic.thought if think else None)
            for topic in self.topics
            for text in topic.held_out
        ]

    def other_samples(self) -> list[Sample]:
        """Return held-out questions about other subjects."""
        return [Sample([user(text)], self.other.answer) for text in self.other.held_out]

    def changed(self, now: "TrainingRecord") -> list[str]:
        """Return the ids of the topics that are new, removed or answered differently in `now`."""
        before = {topic.id: topic.answer for topic in [*self.topics, self.other]}
        after = {topic.id: topic.answer for topic in [*now.topics, now.other]}
        return [id for id in sorted(before.keys() | after.keys()) if before.get(id) != after.get(id)]
