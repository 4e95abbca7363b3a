"""Tests of the table of worker programs."""

import importlib.util
from typing import get_args

from lmx_daemon.contract.worker.messages import EngineKind
from lmx_daemon.residency.programs import PROGRAMS, program_of


def test_every_engine_kind_has_a_program_that_exists() -> None:
    assert set(PROGRAMS) == set(get_args(EngineKind))
    for kind in PROGRAMS:
        assert importlib.util.find_spec(f"{program_of(kind)[-1]}.__main__") is not None
