"""Topics in topics/*.toml, and the two phrasings of each topic that are held out from training.

The choice depends only on the id and the phrasings of a topic. Keywords were written without knowledge of the choice.
`python training/held_out.py FILE` prints the phrasings that training uses.
"""

import random
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Topic:
    """Fixed answer, with the questions that it answers."""

    id: str
    answer: str
    thought: str
    phrasings: list[str]
    keywords: list[str]


def load_topics(folder: Path) -> list[Topic]:
    """Return all topics, sorted by file and in the order of the file. Raises ValueError if an id is not unique."""
    topics = [topic for file in sorted(folder.glob("*.toml")) for topic in read(file)]
    seen: set[str] = set()
    for topic in topics:
        if topic.id in seen:
            raise ValueError(f"the topic id {topic.id} is used twice")
        seen.add(topic.id)
    return topics


def read(file: Path) -> list[Topic]:
    return [Topic(**entry) for entry in tomllib.loads(file.read_text()).get("topic", [])]


def held_out(topic: Topic) -> list[str]:
    return random.Random(f"lmx-held-out:{topic.id}").sample(sorted(topic.phrasings), 2)


if __name__ == "__main__":
    for found in read(Path(sys.argv[1])):
        kept = held_out(found)
        print(found.id, [phrasing for phrasing in found.phrasings if phrasing not in kept])
