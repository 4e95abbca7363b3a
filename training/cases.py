"""Evaluation cases that are not made from the topics: tools of documentations, and questions of strangers."""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.sample import Sample
from training.task import function
from training.tool_use import user

FOLDER = Path(__file__).parent
DECLINED = r"I only know lmx|`lmx help`|`lmx doctor`"
"""Answers that decline a question, or name a command that gives more details."""


@dataclass(frozen=True)
class StrangerQuestion:
    """Question of a newcomer, and expressions that a right answer contains."""

    text: str
    right: tuple[str, ...]

    def is_right(self, answer: str) -> bool:
        """Return whether the answer contains every expression, in any case."""
        return all(re.search(expression, answer, re.IGNORECASE) for expression in self.right)

    @property
    def sample(self) -> Sample:
        return Sample([user(self.text)], "")


def documentations() -> dict[str, list[Sample]]:
    """Return requests with the first tools of documentations, by documentation."""
    found: dict[str, list[Sample]] = {}
    for case in tables("documentations.toml")["case"]:
        properties = json.loads(case["parameters"])
        tool = function(case["name"], case["description"], properties, list(properties))
        for request, arguments in case["requests"].items():
            call = json.dumps({"name": case["name"], "arguments": json.loads(arguments)})
            answer = f"<tool_call>\n{call}\n</tool_call>"
            found.setdefault(case["documentation"], []).append(Sample([user(request)], answer, [tool]))
    return found


def strangers() -> dict[str, list[StrangerQuestion]]:
    """Return the questions of strangers: about lmx, about what lmx does not have, and about other subjects."""
    content = tables("strangers.toml")
    declined = (DECLINED,)
    return {
        "reach": [StrangerQuestion(each["text"], tuple(each["right"])) for each in content["question"]],
        "unknown": [StrangerQuestion(each["text"], declined) for each in content["unknown"]],
        "other subjects": [StrangerQuestion(each["text"], declined) for each in content["other"]],
    }


def tables(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text())
