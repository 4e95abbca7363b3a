"""Verifying, repairing, recording: what `lmx verify` does. One at a time for each model; new bytes are the pulls'."""

import asyncio
import glob
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import ConflictError, LmxError, RequestError, error_from
from lmx_daemon.contract.library import FileRow, FileState, VerifyRequest, VerifyUpdate
from lmx_daemon.contract.pulls import PullRequest
from lmx_daemon.contract.text import valid_text
from lmx_daemon.contract.types import Model
from lmx_daemon.library.catalog.describe import size_of
from lmx_daemon.library.catalog.registry import ModelRegistry
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.verify.file_check import CheckedFile, ExpectedFiles, HashProgress, checking, expected_of
from lmx_daemon.library.verify.manifest import Manifest

FAULTY = ("changed", "missing")


class Verifier:
    def __init__(self, registry: ModelRegistry, pulls: PullQueue) -> None:
        self._registry = registry
        self._pulls = pulls
        self._busy: set[str] = set()

    async def verify(self, request: VerifyRequest, endpoint: str | None = None) -> AsyncGenerator[VerifyUpdate]:
        """How far it is; the last one says how it ended. Raises ModelNotFoundError, ConflictError, RequestError."""
        model = await self._registry.catalog.seek(request.id)
        if model.source == "built-in":
            message = f"{model.id} is a part of lmx: there is nothing to verify it against"
            raise RequestError(message, param="id", hint="should it be damaged, install lmx again")
        if model.id in self._busy:
            raise ConflictError(f"{model.id} is being verified already")
        if request.repair and model.source != "hub":
            raise RequestError(
                f"{model.id} did not come from the Hub, so there is nowhere to fetch it from again",
                hint=f"import it again, or take it as it is: lmx verify {model.id} --accept",
            )
        self._busy.add(model.id)
        try:
            async for update in self._verify(model, request, endpoint):
                yield update
        except OSError as error:
            fault = LmxError(f"{model.id}: {error.strerror or error}")
            yield VerifyUpdate(id=model.id, state="failed", error=fault.body())
        except LmxError as error:
            yield VerifyUpdate(id=model.id, state="failed", error=error.body())
        finally:
            self._busy.discard(model.id)
            await self._registry.catalog.rescan(urgent=True)

    async def _verify(self, model: Model, request: VerifyRequest, endpoint: str | None) -> AsyncIterator[VerifyUpdate]:
        expected = await self._expected(model)
        if request.accept:
            expected = ExpectedFiles(None, "nothing yet")
        async for told in self._hashed(model, expected, request.accept):
            last = told
            if told.state == "hashing":
                yield told
        if last.state != "changed" or not request.repair or expected.manifest is None:
            yield last
            return
        async for told in self._repair(model, last, endpoint):
            yield told
        repaired = await self._expected(model)
        async for told in self._hashed(model, repaired, False):
            mended = "repaired" if told.state == "sound" else told.state
            yield msgspec.structs.replace(told, state=mended, faults=told.faults or last.faults)

    async def _expected(self, model: Model) -> ExpectedFiles:
        return await asyncio.to_thread(lambda: expected_of(model, self._registry.manifests.get(model)))

    async def _hashed(self, model: Model, expected: ExpectedFiles, accept: bool) -> AsyncIterator[VerifyUpdate]:
        """Hashes, keeps the proof where all is well, and says what was found."""
        told = VerifyUpdate(id=model.id, state="hashing", against=expected.against)
        async for step in checking(model, expected):
            if isinstance(step, HashProgress):
                told = msgspec.structs.replace(told, done=step.done, total=step.total)
                yield told
            else:
                yield await asyncio.to_thread(self._conclude, model, expected, step, accept, told)

    def _conclude(
        self, model: Model, expected: ExpectedFiles, checked: list[CheckedFile], accept: bool, told: VerifyUpdate
    ) -> VerifyUpdate:
        faults = tuple(found.row for found in checked if found.row.state in FAULTY)
        told = msgspec.structs.replace(told, done=told.total, files=len(checked))
        if faults:
            return msgspec.structs.replace(told, state="changed", faults=faults)
        files = tuple(found.entry for found in checked if found.entry is not None)
        proved = expected.manifest or Manifest(repo=model.id, commit=model.revision or "", files=())
        self._registry.manifests.write(model, msgspec.structs.replace(proved, files=files, proved_at=time.time()))
        return msgspec.structs.replace(told, state="sound" if expected.manifest else "recorded")

    async def _repair(self, model: Model, found: VerifyUpdate, endpoint: str | None) -> AsyncIterator[VerifyUpdate]:
        """Pulls the wrong files of the same commit anew; without a Hub they stay as they are."""
        for row in found.faults:
            _distrust(Path(model.path) / row.path)
        names = tuple(glob.escape(row.path) for row in found.faults)
        asked = PullRequest(repo=model.id, revision=model.revision, include=names, endpoint=endpoint)
        job = await self._pulls.start(asked)
        async for told in self._pulls.watch(job.id):
            job = told
            yield VerifyUpdate(id=model.id, state="repairing", done=job.done, total=job.total or 0)
        if job.state != "done":
            raise error_from(job.error) if job.error else LmxError(f"the repair of {model.id} was {job.state}")


def _distrust(file: Path) -> None:
    """Makes a pull look at the bytes again, whatever their time says. They stay until better ones are there."""
    with suppress(OSError):
        os.utime(file)


def rows_of(model: Model, manifest: Manifest | None, paths: list[str], changes: dict[str, str]) -> tuple[FileRow, ...]:
    """The files for `lmx show`, without hashing anything: what was proved, and what has changed since."""
    entries = {entry.path: entry for entry in manifest.files} if manifest else {}
    built_in = model.source == "built-in"
    rows = []
    for path in sorted({*paths, *entries}):
        entry, note = entries.get(path), changes.get(path)
        state: FileState = "built-in" if built_in else "unproved"
        if note is not None:
            state = "missing" if note == "is missing" else "changed"
        elif entry is not None and manifest and manifest.proved_at:
            state = "proved"
        if entry is None:
            rows.append(FileRow(path=valid_text(path), size=size_of(Path(model.path) / path), state=state, note=note))
        else:
            told = f"sha256:{entry.sha256}" if entry.sha256 else f"sha1:{entry.git_sha1}"
            rows.append(FileRow(path=path, size=entry.size, hash=told, state=state, note=note))
    return tuple(rows)
