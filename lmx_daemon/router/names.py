"""The names besides the ids of models: aliases of the settings, saved aliases and presets."""

import asyncio
import time
from collections.abc import Callable

from lmx_daemon.contract.admin.names import AliasRow
from lmx_daemon.contract.errors import ConflictError, NotFoundError, RequestError
from lmx_daemon.library.catalog.model_names import nearest_names
from lmx_daemon.router.preset_files import PresetFiles
from lmx_daemon.router.resolve import NameRules
from lmx_daemon.router.saved_aliases import SavedAliases
from lmx_daemon.settings.schema import RouterSettings
from lmx_daemon.settings.values.aliases import PRESET_PREFIX, check_aliases, listed

FRESH_SECONDS = 1.0
"""Age up to which the list of presets is used without reading their folder again."""


class RouterNames:
    """The names of one home. An alias of the settings wins over a saved one of the same name."""

    def __init__(self, settings: Callable[[], RouterSettings], saved: SavedAliases, presets: PresetFiles) -> None:
        self._settings, self._saved = settings, saved
        self.presets = presets
        self._looked_at = -FRESH_SECONDS
        self._changing = asyncio.Lock()

    def rules(self) -> NameRules:
        """Return the rules in force, with the presets of the last `refresh`."""
        presets = {name: row.preset.models if row.preset else () for name, row in self.presets.known.items()}
        return NameRules(self.aliases(), listed(self._settings().default), presets)

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Return all aliases, those of the settings first."""
        own = {alias: listed(names) for alias, names in self._settings().aliases.items()}
        saved = {alias: names for alias, names in self._saved.aliases.items() if alias not in own}
        return own | saved

    def may_mean_preset(self, name: str) -> bool:
        """Return whether a name is that of a preset, or an alias can stand for one."""
        if name.startswith(PRESET_PREFIX):
            return True
        lists = (*self.aliases().values(), listed(self._settings().default))
        return any(each.startswith(PRESET_PREFIX) for names in lists for each in names)

    async def refresh(self) -> None:
        """Read changed presets, unless that was done less than FRESH_SECONDS ago."""
        now = time.monotonic()
        if now - self._looked_at >= FRESH_SECONDS:
            await asyncio.to_thread(self.presets.refresh)
            self._looked_at = now

    def rows(self, installed: Callable[[str], str | None]) -> list[AliasRow]:
        """Return all aliases by name. `installed` returns the id of the model that a name means."""
        own = self._settings().aliases
        return [
            AliasRow(
                name=name,
                models=models,
                source="config" if name in own else "saved",
                model=next((found for each in models if (found := installed(each)) is not None), None),
            )
            for name, models in sorted(self.aliases().items())
        ]

    async def set_alias(self, name: str, models: tuple[str, ...]) -> None:
        """Save an alias. Raise RequestError, ConflictError for one of the settings, or DiskError."""
        self._refuse_own(name)
        async with self._changing:
            changed = dict(self._saved.aliases) | {name: models}
            try:
                check_aliases(self.aliases() | changed)
            except ValueError as error:
                raise RequestError(str(error), param="models") from None
            await asyncio.to_thread(self._saved.replace, changed)

    async def remove_alias(self, name: str) -> tuple[str, ...]:
        """Remove a saved alias, and return its models. Raise NotFoundError, ConflictError, DiskError."""
        self._refuse_own(name)
        async with self._changing:
            kept = dict(self._saved.aliases)
            if name not in self._saved.aliases:
                near = nearest_names(name, list(self._saved.aliases))
                similar = f"; similar names: {', '.join(near)}" if near else ""
                raise NotFoundError(
                    f"there is no alias {name[:200]!r}{similar}", hint="`lmx alias list` lists the aliases"
                )
            models = kept.pop(name)
            await asyncio.to_thread(self._saved.replace, kept)
        return models

    def is_alias(self, name: str) -> bool:
        """Return whether a name is that of an alias."""
        return name in self._settings().aliases or name in self._saved.aliases

    def _refuse_own(self, name: str) -> None:
        if name in self._settings().aliases:
            raise ConflictError(
                f"{name[:200]!r} is an alias of config.toml", hint="change it there, in the table [router.aliases]"
            )
