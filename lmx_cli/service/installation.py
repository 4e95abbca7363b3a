"""The service file: written, replaced and removed, and only if lmx has written it."""

import os
from contextlib import suppress
from typing import Literal

from lmx_cli.service.plan import MARK, ServicePlan
from lmx_cli.service.system import ServiceSystem
from lmx_daemon.contract.errors import ConflictError, LmxError
from lmx_daemon.storage.durable import read_regular, write_file
from lmx_daemon.storage.failed_write import failed_write

MAX_BYTES = 1024 * 1024
Change = Literal["installed", "updated", "unchanged"]


def install(system: ServiceSystem, plan: ServicePlan, *, force: bool = False) -> Change:
    """Write the service file if it differs, and load it. If it cannot be loaded, the former file is restored.

    Raises ConflictError for a file that lmx has not written, unless `force` is set; that file is then kept as
    NAME.before-lmx. Raises LmxError.
    """
    content, before = system.content(plan), _read(system)
    if before == content:
        if system.state().pid is None:
            system.load()
        return "unchanged"
    if before is not None and not _is_own(before) and not force:
        raise ConflictError(
            f"{system.file} exists, and lmx has not written it", hint="move it away, or replace it with --force"
        )
    try:
        if before is not None:
            system.unload()
            if not _is_own(before):
                write_file(system.file.with_name(f"{system.file.name}.before-lmx"), before)
        system.file.parent.mkdir(parents=True, exist_ok=True)
        write_file(system.file, content)
    except OSError as error:
        raise failed_write(f"cannot write {system.file}", system.file, error) from error
    try:
        system.load()
    except LmxError:
        with suppress(OSError):
            system.file.unlink() if before is None else write_file(system.file, before)
        raise
    return "installed" if before is None else "updated"


def uninstall(system: ServiceSystem) -> bool:
    """Stop the service and remove its file. Returns False if there is none.

    Raises ConflictError for a file that lmx has not written. Raises LmxError.
    """
    before = _read(system)
    if before is None:
        return False
    if not _is_own(before):
        raise ConflictError(f"{system.file} was not written by lmx", hint="remove it by hand if you do not need it")
    system.unload()
    try:
        os.unlink(system.file)
    except OSError as error:
        raise failed_write(f"cannot remove {system.file}", system.file, error) from error
    system.forget()
    return True


def is_installed(system: ServiceSystem) -> bool:
    """Return whether the service file exists and was written by lmx."""
    found = _read(system)
    return found is not None and _is_own(found)


def _read(system: ServiceSystem) -> bytes | None:
    try:
        return read_regular(system.file, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConflictError(
            f"cannot read {system.file}: {error.strerror or error}", hint="move it away: lmx has not written it"
        ) from error


def _is_own(content: bytes) -> bool:
    return MARK.encode() in content
