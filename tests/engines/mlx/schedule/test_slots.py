"""Requests and their rows in the batch."""

from pathlib import Path

import pytest

from lmx_daemon.contract.requests import Generate, Tokens
from lmx_daemon.contract.worker.messages import TextOptions
from lmx_daemon.engines.mlx.load.model import load
from lmx_daemon.engines.mlx.load.probe import probe_model
from lmx_daemon.engines.mlx.prefix.sharing import PrefixSharing
from lmx_daemon.engines.mlx.schedule.slots import BatchSlots
from lmx_daemon.engines.mlx.text.answer import EngineRequest
from lmx_daemon.engines.mlx.text.prompt import PreparedPrompt
from tests.models import build_model


@pytest.fixture(scope="module")
def slots(tmp_path_factory: pytest.TempPathFactory) -> BatchSlots:
    path: Path = build_model("llama", tmp_path_factory.mktemp("model"), ends=False)
    loaded = load(path, TextOptions(), lambda *_: None)
    return BatchSlots(loaded, probe_model(loaded.model), TextOptions(), PrefixSharing())


def request_of(name: str, choices: int = 1) -> EngineRequest:
    generate = Generate(id=name, model="m", prompt=Tokens(ids=(5, 6, 7)), choices=choices)
    return EngineRequest(generate, PreparedPrompt([5, 6, 7], []), 0.0, 0.0, 0)


def test_preempted_request_does_not_own_rows_of_a_new_batch(slots: BatchSlots) -> None:
    """A new batch numbers its rows from zero, so numbers of the old batch must be forgotten."""
    slots.renew()  # past the rows of the warm-up, so that the next two batches use the same numbers
    first, second = request_of("first", choices=2), request_of("second", choices=2)
    slots.start(first, 8)
    slots.start(second, 8)
    slots.step()
    assert slots.renew() == [first, second]
    for each in (first, second):
        each.preempt()
    slots.resume(second, 8)
    slots.save(first)
    slots.remove(first)
    assert list(slots.running) == [second]
    assert {id(slots.of(row)) for row in second.rows} == {id(second)}
    assert len({token.row for _ in range(6) for token in slots.step().tokens}) == 2
    slots.remove(second)
    assert not slots.running and slots.free == TextOptions().max_running
