"""Pulls as the tests of the library drive them, and what another tool would see of the result."""

import os
import subprocess
import sys
from pathlib import Path

from lmx_daemon.contract.pulls import Download, PullRequest
from lmx_daemon.library.pull.pull_queue import PullQueue
from tests.library.conftest import REPO

PULL_PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from lmx_daemon.settings.schema import LibrarySettings
from lmx_daemon.contract.pulls import PullRequest
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
    """To its end."""
    asked = PullRequest(repo=repo, revision=revision, include=include, exclude=exclude, token=token)
    last = await pulls.start(asked)
    async for told in pulls.watch(last.id):
        last = told
    return last


def pull_process(environ: dict[str, str], records: Path, repo: str = REPO) -> "subprocess.Popen[str]":
    """The same in a process of its own; it prints "started", then the state and the error."""
    command = [sys.executable, "-c", PULL_PROGRAM, repo, str(records)]
    return subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE, text=True)


def folder_of(environ: dict[str, str], repo: str = REPO) -> Path:
    """The repository's folder in the cache."""
    return Path(environ["HF_HUB_CACHE"]) / f"models--{repo.replace('/', '--')}"


def visible(environ: dict[str, str], repo: str = REPO) -> list[str]:
    """What another tool would see of the repository."""
    return sorted(file.name for file in folder_of(environ, repo).glob("snapshots/*/*"))


def partials(environ: dict[str, str], repo: str = REPO) -> list[Path]:
    return sorted(folder_of(environ, repo).glob("blobs/*.incomplete"))
