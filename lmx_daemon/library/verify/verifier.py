"""`lmx verify`: verification of models, repair by a new pull of wrong files, and recording of files as they are."""

import asyncio
import glob
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec

from lmx_daemon.contract.admin.library.files import FileRow, FileState, VerifyRequest, VerifyUpdate
from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.errors import ConflictError, LmxError, RequestError, error_from
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.text import valid_text
from lmx_daemon.library.catalog.model_registry import ModelRegistry
from lmx_daemon.library.disk.layout import repository_folder
from lmx_daemon.library.disk.sizes import file_size
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.verify.file_check import (
    CheckedFile,
    ExpectedFiles,
    HashProgress,
    check_files,
    expected_files,
)
from lmx_daemon.library.verify.manifest import Manifest

LOGGER = logging.getLogger("lmx.library")
FAULTY = ("changed", "missing")
"""States of files that make a model differ from its manifest."""


class Verifier:
    """Verification, one at a time for each model. Wrong files are fetched through the queue of pulls."""

    def __init__(self, registry: ModelRegistry, pulls: PullQueue) -> None:
        self._registry = registry
        self._pulls = pulls
        self._busy: set[str] = set()

    async def verify(self, request: VerifyRequest, endpoint: str | None = None) -> AsyncGenerator[VerifyUpdate]:
        """Yield the progress of a verification; the last update holds the result.

        Raises ModelNotFoundError, ConflictError, RequestError.
        """
        model = await self._registry.catalog.seek_part(request.id)
        if model.source == "built-in":
            message = f"{model.id} is a part of lmx and has nothing to be verified against"
            raise RequestError(message, param="id", hint="if it is damaged, install lmx again")
        if model.id in self._busy:
            raise ConflictError(f"{model.id} is already being verified")
        if request.repair and model.source != "hub":
            raise RequestError(
                f"{model.id} was not pulled from the Hub, so it cannot be fetched again",
                hint=f"import it again, or accept the files as they are: lmx verify {model.id} --accept",
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
        async for update in self._hash(model, expected):
            last = update
            if update.state == "hashing":
                yield update
        if last.state != "changed" or not request.repair or expected.manifest is None:
            yield last
            return
        async for update in self._repair(model, last, endpoint):
            yield update
        async for update in self._hash(model, await self._expected(model)):
            state = "repaired" if update.state == "sound" else update.state
            yield msgspec.structs.replace(update, state=state, faults=update.faults or last.faults)

    async def _expected(self, model: Model) -> ExpectedFiles:
        return await asyncio.to_thread(lambda: expected_files(model, self._registry.manifests.get(model)))

    async def _hash(self, model: Model, expected: ExpectedFiles) -> AsyncIterator[VerifyUpdate]:
        """Yield the progress of hashing, then the result. The manifest is stored when every file is right."""
        update = VerifyUpdate(id=model.id, state="hashing", against=expected.against)
        async for step in check_files(model, expected):
            if isinstance(step, HashProgress):
                update = msgspec.structs.replace(update, done=step.done, total=step.total)
                yield update
            else:
                yield await asyncio.to_thread(self._conclude, model, expected, step, update)

    def _conclude(
        self, model: Model, expected: ExpectedFiles, checked: list[CheckedFile], update: VerifyUpdate
    ) -> VerifyUpdate:
        faults = tuple(found.row for found in checked if found.row.state in FAULTY)
        update = msgspec.structs.replace(update, done=update.total, files=len(checked))
        if faults:
            return msgspec.structs.replace(update, state="changed", faults=faults)
        files = tuple(found.entry for found in checked if found.entry is not None)
        verified = expected.manifest or Manifest(repo=model.id, commit=model.revision or "", files=())
        try:
            self._registry.manifests.write(model, msgspec.structs.replace(verified, files=files, proved_at=time.time()))
        except OSError as error:
            if expected.manifest is None:  # the record is the purpose
                raise
            LOGGER.warning("%s: sound, but this was not recorded: %s", model.id, error.strerror or error)
        return msgspec.structs.replace(update, state="sound" if expected.manifest else "recorded")

    async def _repair(self, model: Model, found: VerifyUpdate, endpoint: str | None) -> AsyncIterator[VerifyUpdate]:
        """Pull the wrong files of the same commit again. Without a Hub they stay as they are. Raises LmxError."""
        for row in found.faults:
            await asyncio.to_thread(_touch, Path(model.path) / row.path, repository_folder(Path(model.path)))
        names = tuple(glob.escape(row.path) for row in found.faults)
        request = PullRequest(repo=model.id, revision=model.revision, include=names, endpoint=endpoint)
        job = await self._pulls.start(request)
        async for download in self._pulls.watch(job.id):
            job = download
            yield VerifyUpdate(id=model.id, state="repairing", done=job.done, total=job.total or 0)
        if job.state != "done":
            raise error_from(job.error) if job.error else LmxError(f"the repair of {model.id} was {job.state}")


def _touch(file: Path, repository: Path) -> None:
    """Change a file's time, so that a pull hashes its bytes again. The bytes stay until better ones are fetched.

    A file outside the repository, to which a link leads, is not changed.
    """
    target = Path(os.path.realpath(file))
    if target.is_relative_to(os.path.realpath(repository)):
        with suppress(OSError):
            os.utime(target, follow_symlinks=False)


def file_rows(
    model: Model, manifest: Manifest | None, paths: list[str], changes: dict[str, str]
) -> tuple[FileRow, ...]:
    """Return a model's files for `lmx show`, without hashing: their manifest entries, and `changes` since then."""
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
            rows.append(FileRow(path=valid_text(path), size=file_size(Path(model.path) / path), state=state, note=note))
        else:
            stated = f"sha256:{entry.sha256}" if entry.sha256 else f"sha1:{entry.git_sha1}"
            rows.append(FileRow(path=path, size=entry.size, hash=stated, state=state, note=note))
    return tuple(rows)
