"""All topics of the guide: the written ones of topics/*.toml with their placeholders filled, and the generated ones."""

from functools import cache
from pathlib import Path

from training.facts.facts import facts
from training.facts.generated import with_generated
from training.held_out import Topic, load_topics

TOPICS = Path(__file__).parent.parent / "topics"


@cache
def all_topics() -> tuple[Topic, ...]:
    """Return the topics with the facts of this checkout."""
    return tuple(with_generated(load_topics(TOPICS), facts()))
