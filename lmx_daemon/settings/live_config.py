"""config.toml of a running daemon: read at the start, on each change of the file, and on request.

After a fault in the file, the former settings stay in force, and the log and `status` report the fault. The file is
watched by its status every WATCH_SECONDS, in a thread: that costs less than a library for file events, and works on
every disk.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from lmx_daemon.contract.admin.config import ConfigReload, ConfigView
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.settings.choice import choose
from lmx_daemon.settings.layers import Layers, read_layers
from lmx_daemon.settings.listing import named_rows, rows
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_daemon.settings.source import SettingsSource
from lmx_daemon.settings.writing.changes import changed_keys, described, edited, typed
from lmx_daemon.settings.writing.config_writer import change_config

WATCH_SECONDS = 1.0
"""Time between two looks at the file. A change is read once the file has stayed the same for one more look."""
Signature = tuple[int, ...] | None
LOGGER = logging.getLogger("lmx.settings")


class LiveConfig:
    """The settings of a daemon, with the layers that they come from."""

    def __init__(
        self,
        home: Home,
        environ: Mapping[str, str],
        flags: Mapping[str, Any],
        check: Callable[[Settings], None] = lambda settings: None,
    ) -> None:
        """Read the file. Raises ConfigError, and what `check` raises."""
        self._home = home
        self._read_layers = partial(read_layers, home.config, environ, flags)
        self._read = self._seen = self._signature()
        self._layers: Layers = self._read_layers()
        self._lock = asyncio.Lock()
        self.source = SettingsSource(self._layers.settings, check)

    def view(self) -> ConfigView:
        """Return all settings with their values in force."""
        return ConfigView(
            file=str(self._home.config),
            rows=rows(self._layers, self.source.current),
            named=named_rows(),
            fault=self.source.fault,
            notes=self._layers.notes,
        )

    async def reload(self) -> ConfigReload:
        """Read the file again, and put in force what can change now. Raises LmxError; then nothing changes."""
        async with self._lock:
            self._read = self._seen = await asyncio.to_thread(self._signature)
            before, waited, known = self.source.current, self.source.waiting, self.source.fault
            try:
                layers = await asyncio.to_thread(self._read_layers)
                waiting = self.source.replace(layers.settings)
            except LmxError as error:
                self.source.fault = error.message
                if error.message != known:
                    LOGGER.error("%s; the settings in force stay", error.message)
                raise
            self._layers = layers
            changed = changed_keys(before, self.source.current)
            for path in changed:
                LOGGER.info("%s", described(path, self.source.current))
            for path in sorted(set(waiting) - set(waited)):
                LOGGER.warning("%s has changed in the file, and takes effect at the next start of lmx", path)
            return ConfigReload(changed=changed, waiting=waiting)

    async def refresh(self) -> None:
        """Read the file again. A fault of it is in the log, and `status` shows it."""
        with suppress(LmxError):
            await self.reload()

    async def set(self, name: str, value: Any) -> ConfigReload:
        """Set a key in the file, or remove it where `value` is None, and read the file again. Raises LmxError."""
        choice = choose(name)
        value = None if value is None else typed(choice, value)
        await asyncio.to_thread(change_config, self._home, partial(edited, choice, value))
        found = await self.reload()
        origin = self._layers.origin(choice.dotted)
        overridden = origin.place if origin.layer in ("environment", "flag") else ""
        return ConfigReload(changed=found.changed, waiting=found.waiting, overridden=overridden)

    async def look(self) -> None:
        """Read the file again if it has changed and is not being written any more."""
        found = await asyncio.to_thread(self._signature)
        if found == self._read:
            return
        if found != self._seen:
            self._seen = found
            return
        await self.refresh()

    def _signature(self) -> Signature:
        """Return a value that differs after each change of the file; None if there is no file."""
        try:
            found = os.stat(self._home.config)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
