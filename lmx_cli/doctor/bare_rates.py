"""The speed of mlx-lm without lmx, measured by a child process with the environment of a worker."""

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import LmxError

SECONDS = 300.0
PROGRAM = """
import os, sys
from lmx_daemon.residency.workers.environment import worker_environment
command = [sys.executable, "-m", "lmx_daemon.engines.mlx.bare_rate", *sys.argv[1:]]
os.execve(sys.executable, command, worker_environment(os.environ))
"""
"""Program of the child process. It uses the environment of a worker, and therefore the same BLAS."""


class Burst(msgspec.Struct, frozen=True):
    """Prompts that are sent at once, as tokens, and the number of tokens to generate for each."""

    prompts: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]


async def bare_rates(model: Path, bursts: list[Burst], program: str = PROGRAM) -> list[float]:
    """Return the tokens per second of each burst. Raises LmxError."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(model)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await child.communicate(msgspec.json.encode(bursts))
    except TimeoutError:
        raise LmxError(f"the measurement of mlx-lm did not end within {SECONDS:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if child.returncode != 0:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise LmxError(f"the measurement of mlx-lm failed: {lines[-1] if lines else f'exit code {child.returncode}'}")
    return msgspec.json.decode(output.strip().splitlines()[-1], type=list[float])
