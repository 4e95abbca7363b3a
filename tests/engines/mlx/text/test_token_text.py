"""Bytes and text of tokens: together they are the text of the answer, for every kind of tokenizer."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from lmx_daemon.contract.generation.events import Delta
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.engines.mlx.batch.step import Token
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY
from lmx_daemon.engines.mlx.sampling.sampler import Logprobs
from lmx_daemon.engines.mlx.text.answer import AnswerRecord
from lmx_daemon.engines.mlx.text.families.family import PLAIN
from lmx_daemon.engines.mlx.text.prompts.prompt import PreparedPrompt
from tests.scripted import Decoder, Script, build_scripted

SAID = Script([" One", " two", "  three ", b"\xf0\x9f", b"\x98\x80", b"\xe6\x97\xa5", " \u00fc", "<|mark|>", "\n", "x"])
TEXT = " One two  three 😀日 ü<|mark|>\nx"


def answered(tokenizer: Any, count: int) -> list[Delta]:
    """Return the deltas of a completion of the script's tokens, which are the first of the vocabulary."""
    request = Generate(id="r", model="m", prompt=Text(text="x"), top_logprobs=1)
    answer = AnswerRecord(request, PreparedPrompt([1], [], raw=True), 0.0, 0.0, 0)
    (choice,) = answer.start(99, GREEDY, tokenizer, PLAIN)
    found: list[Any] = []
    for token in range(count):
        logprobs = Logprobs(chosen=-0.1, top=((token, -0.1),))
        found += answer.consume(Token(choice, token, "length" if token == count - 1 else None, logprobs), tokenizer)
    return [event for event in found if isinstance(event, Delta)]


@pytest.mark.parametrize("decoder", ["byte", "metaspace", "metaspace-stripped", "naive"])
def test_the_tokens_of_a_completion_spell_its_text(decoder: Decoder, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(build_scripted(tmp_path, SAID, decoder=decoder, special=["<|mark|>"]))
    count = len(SAID.pieces([])) + (0 if decoder == "byte" else 2)  # sentencepiece has a token for each stray byte
    deltas = answered(tokenizer, count)
    logprobs = [entry for delta in deltas for entry in delta.logprobs]
    if decoder != "naive":  # its decoder, which loses white space, makes the text
        assert "".join(delta.content for delta in deltas) == TEXT
    assert b"".join(bytes(entry.bytes) for entry in logprobs).decode() == TEXT
    part = r"\xf0\x9f" if decoder == "byte" else r"\xf0"
    assert [entry.token for entry in logprobs][:4] == [" One", " two", "  three ", part]
    assert all(entry.top[0].bytes == entry.bytes and entry.top[0].token == entry.token for entry in logprobs)
