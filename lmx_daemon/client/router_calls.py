"""The methods of the client library for aliases and presets, one for each route."""

from urllib.parse import quote, urlencode

from lmx_daemon.client.connection import AdminConnection
from lmx_daemon.contract.admin.defaults import RequestDefaults
from lmx_daemon.contract.admin.names import AliasChange, AliasName, AliasRow
from lmx_daemon.contract.generation.preset import PresetChange, PresetImport, PresetImported, PresetName, PresetRow
from lmx_daemon.contract.models import Model


class RouterCalls(AdminConnection):
    """The part of Client for names."""

    async def named(self, name: str) -> Model:
        """Return the installed model that a name means. Raises ModelNotFoundError, which lists similar names."""
        return await self._get(f"/admin/names/model?name={quote(name, safe='')}", Model)

    async def request_defaults(self, model: str, preset: str = "") -> RequestDefaults:
        """Return the values that requests for a model have where they set none."""
        query = urlencode({"model": model, "preset": preset}, errors="replace")
        return await self._get(f"/admin/names/defaults?{query}", RequestDefaults)

    async def aliases(self) -> list[AliasRow]:
        return await self._get("/admin/aliases", list[AliasRow])

    async def set_alias(self, name: str, models: tuple[str, ...]) -> AliasRow:
        """Create or replace an alias."""
        return await self._post("/admin/aliases", AliasRow, AliasChange(name=name, models=models))

    async def remove_alias(self, name: str) -> AliasRow:
        """Remove an alias, and return it. Its models stay."""
        return await self._post("/admin/aliases/remove", AliasRow, AliasName(name=name))

    async def presets(self) -> list[PresetRow]:
        return await self._get("/admin/presets", list[PresetRow])

    async def change_preset(self, change: PresetChange) -> PresetRow:
        """Create or change a preset."""
        return await self._post("/admin/presets", PresetRow, change)

    async def remove_preset(self, name: str) -> PresetRow:
        """Remove a preset, and return it."""
        return await self._post("/admin/presets/remove", PresetRow, PresetName(name=name))

    async def import_preset(self, request: PresetImport) -> PresetImported:
        """Add a preset of LM Studio."""
        return await self._post("/admin/presets/import", PresetImported, request)
