"""Answers in the batch, and out of it."""

from pathlib import Path

import pytest

from lmx_daemon.contract.frames import TextOptions
from lmx_daemon.contract.generation import Generate, Tokens
from lmx_daemon.engines.mlx.load.model import load
from lmx_daemon.engines.mlx.load.probe import probe_model
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.schedule.slots import BatchSlots
from lmx_daemon.engines.mlx.text.answer import EngineRequest
from lmx_daemon.engines.mlx.text.prompt import PreparedPrompt
from tests.models import build_model


@pytest.fixture(scope="module")
def seats(tmp_path_factory: pytest.TempPathFactory) -> BatchSlots:
    path: Path = build_model("llama", tmp_path_factory.mktemp("model"), ends=False)
    loaded = load(path, TextOptions(), lambda *_: None)
    return BatchSlots(loaded, probe_model(loaded.model), TextOptions(), PrefixSharing())


def answer(name: str, choices: int = 1) -> EngineRequest:
    request = Generate(id=name, model="m", prompt=Tokens(ids=(5, 6, 7)), choices=choices)
    return EngineRequest(request, PreparedPrompt([5, 6, 7], []), 0.0, 0.0, 0)


def test_one_that_waits_to_go_on_has_no_part_in_another_ones_rows(seats: BatchSlots) -> None:
    """A fresh batch counts its rows anew: numbers of the old one must not reach into it."""
    seats.renew()  # past the rows of the warm-up, so that the next two batches count alike
    first, second = answer("first", choices=2), answer("second", choices=2)
    seats.start(first, 8)
    seats.start(second, 8)
    seats.step()
    assert seats.renew() == [first, second]
    for each in (first, second):
        each.preempt()
    seats.resume(second, 8)
    seats.save(first)
    seats.remove(first)
    assert list(seats.answers) == [second]
    assert {id(seats.of(row)) for row in second.rows} == {id(second)}
    assert len({token.row for _ in range(6) for token in seats.step().tokens}) == 2
    seats.remove(second)
    assert not seats.answers and seats.free == TextOptions().max_running
