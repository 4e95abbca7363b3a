"""The worker program of each engine kind. Another engine needs its own folder below engines/ and one line here."""

import sys
from collections.abc import Mapping

from lmx_daemon.contract.worker.messages import EngineKind

PROGRAMS: Mapping[EngineKind, str] = {
    "text": "lmx_daemon.engines.mlx",
}


def program_of(kind: EngineKind) -> tuple[str, ...]:
    """Return the command line of the worker program for models of `kind`."""
    return sys.executable, "-m", PROGRAMS[kind]
