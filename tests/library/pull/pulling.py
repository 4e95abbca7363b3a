"""Pulls for tests, in this process or in another one, and the files that other programs see afterwards."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmx_daemon.contract.admin.library.pulls import Download, PullRequest
from lmx_daemon.library.pull.pull_queue import PullQueue
from tests.library.conftest import REPO

PULL_PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from lmx_daemon.settings.schema import LibrarySettings
from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.library.pull.pull_queue import PullQueue
async def main():
    pulls = PullQueue(lambda: LibrarySettings(reserve_bytes=0), os.environ, Path(sys.argv[2]))
    pulls.open()
    job = await pulls.start(PullRequest(repo=sys.argv[1]))
    print("started", flush=True)
    async for job in pulls.watch(job.id):
        pass
    print(job.state, job.error)
    await pulls.close()
asyncio.run(main())
"""
SLOW = 1_500_000
"""Rate of a slow Hub, in bytes per second."""
WHOLE = ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
"""The files of REPO that a model needs."""


async def pull(
    pulls: PullQueue,
    repo: str = REPO,
    revision: str | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    token: str | None = None,
) -> Download:
    """Pull a repository, and return the ended pull."""
    asked = PullRequest(repo=repo, revision=revision, include=include, exclude=exclude, token=token)
    last = await pulls.start(asked)
    async for update in pulls.watch(last.id):
        last = update
    return last


def pull_process(environ: dict[str, str], records: Path, repo: str = REPO) -> "subprocess.Popen[str]":
    """Pull a repository in a process of its own, which prints "started", and finally the state and the error."""
    command = [sys.executable, "-c", PULL_PROGRAM, repo, str(records)]
    return subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE, text=True)


def folder_of(environ: dict[str, str], repo: str = REPO) -> Path:
    """Return the repository's folder in the cache."""
    return Path(environ["HF_HUB_CACHE"]) / f"models--{repo.replace('/', '--')}"


def visible(environ: dict[str, str], repo: str = REPO) -> list[str]:
    """Return the files of the repository that other programs see."""
    return sorted(file.name for file in folder_of(environ, repo).glob("snapshots/*/*"))


def partials(environ: dict[str, str], repo: str = REPO) -> list[Path]:
    """Return the partial files of the repository."""
    return sorted(folder_of(environ, repo).glob("blobs/*.incomplete"))


async def until(pulls: PullQueue, identity: str, count: int) -> None:
    """Wait until a pull has `count` bytes."""
    async with asyncio.timeout(20):
        while pulls.get(identity).done < count:
            await asyncio.sleep(0.01)


async def until_state(pulls: PullQueue, identity: str, state: str) -> None:
    """Wait until a pull has a state."""
    async with asyncio.timeout(20):
        while pulls.get(identity).state != state:
            await asyncio.sleep(0.01)


async def held_up(pulls: PullQueue, writes: int) -> None:
    """Wait until `writes` writes of records wait behind `slow_disk`."""
    async with asyncio.timeout(20):
        while pulls._records._writer._work_queue.qsize() < writes:
            await asyncio.sleep(0)


@contextmanager
def slow_disk(pulls: PullQueue) -> Iterator[None]:
    """Hold up the writes of records until the end of the block."""
    gate = threading.Event()
    pulls._records._writer.submit(gate.wait)
    try:
        yield
    finally:
        gate.set()
