"""Prompts of a prefix and a suffix have the markers of the model's family in its order."""

from typing import Any

import pytest

from lmx_daemon.contract.errors import UnsupportedError
from lmx_daemon.contract.generation.requests import Infill
from lmx_daemon.engines.mlx.text.prompts.infill import FORMS, infill_tokens
from lmx_daemon.engines.mlx.text.prompts.prompt import PromptBuilder
from tests.engines.mlx.text.prompts.renderers import Letters, Renderer

BOS = 2_000_000


class Markers(Letters):
    """A tokenizer with one token for each character, a space before each text, and the given markers."""

    bos_token_id = BOS

    def __init__(self, *markers: str, bos: bool = False) -> None:
        super().__init__()
        self._vocabulary = {marker: BOS + 1 + place for place, marker in enumerate(markers)}
        self._bos = [BOS] if bos else []

    def get_vocab(self) -> dict[str, int]:
        return self._vocabulary

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        letters = [ord(letter) for letter in "_" + text] if text else []
        return [*(self._bos if add_special_tokens else []), *letters]


def shown(tokens: list[int], tokenizer: Markers) -> str:
    names = {token: marker for marker, token in tokenizer.get_vocab().items()} | {BOS: "<bos>"}
    return "".join(names.get(token) or chr(token) for token in tokens)


@pytest.mark.parametrize(
    ("markers", "expected"),
    [
        (("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"), "<|fim_prefix|>_ab<|fim_suffix|>cd<|fim_middle|>"),
        (("<fim_prefix>", "<fim_suffix>", "<fim_middle>"), "<fim_prefix>_ab<fim_suffix>cd<fim_middle>"),
        (("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"), "\u2581<PRE>_ab\u2581<SUF>cd\u2581<MID>"),
        (
            ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
            "<\uff5cfim\u2581begin\uff5c>_ab<\uff5cfim\u2581hole\uff5c>cd<\uff5cfim\u2581end\uff5c>",
        ),
        (("[PREFIX]", "[SUFFIX]"), "[SUFFIX]cd[PREFIX]_ab"),
    ],
)
@pytest.mark.parametrize("bos", [False, True])
def test_every_family_has_its_form(markers: tuple[str, ...], expected: str, bos: bool) -> None:
    tokenizer = Markers(*markers, bos=bos)
    tokens, _ = infill_tokens(Infill(prefix="ab", suffix="cd"), tokenizer)
    assert shown(tokens, tokenizer) == "<bos>" * bos + expected


def test_answer_ends_with_the_tokens_of_its_family() -> None:
    tokenizer = Markers(*(FORMS[0].prefix, FORMS[0].suffix, FORMS[0].middle), "<|fim_pad|>", "<|other|>")
    builder: Any = PromptBuilder(tokenizer, 1000, 10**7, Renderer())  # type: ignore[arg-type]
    prepared = builder.build(Infill(prefix="ab", suffix="cd"))
    assert prepared.raw and prepared.stop_tokens == {tokenizer.get_vocab()["<|fim_pad|>"]}


def test_model_without_markers_is_refused_by_the_field() -> None:
    for markers in ((), ("<|fim_prefix|>", "<|fim_suffix|>")):
        with pytest.raises(UnsupportedError) as refused:
            infill_tokens(Infill(prefix="a", suffix="b"), Markers(*markers))
        assert refused.value.param == "suffix" and "cannot fill in text" in refused.value.message
