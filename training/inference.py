"""The guide as mlx_lm runs it: greedy answers to samples, and JSON whose keys a schema enforces."""

import json
from pathlib import Path
from typing import Any

import mlx_lm
from mlx_lm.generate import batch_generate

from training.sample import Sample

GUIDE = Path(__file__).parent.parent / "lmx_daemon" / "library" / "guide"
"""Folder of the committed weights."""
BATCH = 48


class Guide:
    """Model in a folder, run by mlx_lm."""

    def __init__(self, folder: Path = GUIDE) -> None:
        self.model, self.tokenizer = mlx_lm.load(str(folder))

    def answers(self, samples: list[Sample]) -> list[str]:
        """Return the greedy outputs in the order of the samples."""
        return self.complete([self.prompt(sample) for sample in samples], 200)

    def filled(self, samples: list[Sample]) -> list[dict[str, Any]]:
        """Return the objects with the keys of each sample's answer, whose values the model generates one by one."""
        prompts = [self.prompt(sample) for sample in samples]
        wanted = [list(json.loads(sample.answer).items()) for sample in samples]
        texts, found = ["{"] * len(samples), [dict[str, Any]() for _ in samples]
        for place in range(max(map(len, wanted))):
            rows = [row for row, pairs in enumerate(wanted) if place < len(pairs)]
            for row in rows:
                key, value = wanted[row][place]
                texts[row] += f'{", " if place else ""}"{key}": ' + ('"' if isinstance(value, str) else "")
            encoded = [prompts[row] + self.tokenizer.encode(texts[row], add_special_tokens=False) for row in rows]
            for row, text in zip(rows, self.complete(encoded, 40), strict=True):
                key, value = wanted[row][place]
                found[row][key], raw = value_of(text, isinstance(value, str))
                texts[row] += raw
        return found

    def prompt(self, sample: Sample) -> list[int]:
        """Return the tokens of a sample's prompt."""
        prompt: list[int] = self.tokenizer.apply_chat_template(
            sample.messages,
            tools=sample.tools or None,
            add_generation_prompt=True,
            enable_thinking=sample.thought is not None,
        )
        return prompt

    def complete(self, prompts: list[list[int]], max_tokens: int) -> list[str]:
        """Return the greedy continuations. Prompts of similar length share a batch."""
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        found = [""] * len(prompts)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            reply = batch_generate(self.model, self.tokenizer, [prompts[at] for at in rows], max_tokens=max_tokens)
            for at, text in zip(rows, reply.texts, strict=True):
                found[at] = text
        return found


def value_of(text: str, is_text: bool) -> tuple[Any, str]:
    """Return the JSON value at the beginning of a text, without its opening quote, and the characters that it takes."""
    if is_text:
        value = text.partition('"')[0]
        return value, value + '"'
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None, "null"
    return value, text[:end]
