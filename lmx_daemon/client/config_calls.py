"""The methods of the client library for settings, one for each route."""

from typing import Any

import msgspec

from lmx_daemon.client.connection import AdminConnection
from lmx_daemon.contract.admin.config import ConfigReload, ConfigSet, ConfigView


class ConfigCalls(AdminConnection):
    """The part of Client for settings."""

    async def config(self) -> ConfigView:
        """Return all settings with their values in force."""
        return await self._get("/admin/config", ConfigView)

    async def set_config(self, key: str, value: Any) -> ConfigReload:
        """Set a key in the daemon's file, or remove it where `value` is None. A text is read as a person types it."""
        answer = await self._send("PATCH", "/admin/config", ConfigSet(key=key, value=value))
        return msgspec.json.decode(answer, type=ConfigReload)

    async def reload_config(self) -> ConfigReload:
        """Make the daemon read its file again. Raises ConfigError that names the line; then nothing changes."""
        return await self._post("/admin/config/reload", ConfigReload)
