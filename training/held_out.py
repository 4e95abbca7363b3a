"""Topics as they are written in topics/*.toml, and which two phrasings of each are never trained on.

The choice depends on the topic's id and phrasings only; keywords were written without looking at it.
`python training/held_out.py FILE` prints the phrasings that are trained on.
"""

import random
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Topic:
    id: str
    answer: str
    thought: str
    phrasings: list[str]
    keywords: list[str]


def load_topics(folder: Path) -> list[Topic]:
    """All topics, by file and in its order. Raises ValueError where an id is used twice."""
    topics = [topic for file in sorted(folder.glob("*.toml")) for topic in read(file)]
    seen: set[str] = set()
    for topic in topics:
        if topic.id in seen:
            raise ValueError(f"the topic {topic.id} is there twice")
        seen.add(topic.id)
    return topics


def read(file: Path) -> list[Topic]:
    return [Topic(**entry) for entry in tomllib.loads(file.read_text()).get("topic", [])]


def held_out(topic: Topic) -> list[str]:
    return random.Random(f"lmx-held-out:{topic.id}").sample(sorted(topic.phrasings), 2)


if __name__ == "__main__":
    for found in read(Path(sys.argv[1])):
        secret = held_out(found)
        print(found.id, [phrasing for phrasing in found.phrasings if phrasing not in secret])
