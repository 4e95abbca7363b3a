"""The methods of the client library for API keys, one for each route."""

from lmx_daemon.client.connection import AdminConnection
from lmx_daemon.contract.admin.keys import ApiKey, CreatedKey, KeyId, KeyRequest


class KeyCalls(AdminConnection):
    """The part of Client for API keys."""

    async def keys(self) -> list[ApiKey]:
        return await self._get("/admin/keys", list[ApiKey])

    async def create_key(self, request: KeyRequest) -> CreatedKey:
        """Create an API key. Only this answer contains its secret."""
        return await self._post("/admin/keys", CreatedKey, request)

    async def revoke_key(self, identity: str) -> ApiKey:
        """Revoke an API key by its id, and return it."""
        return await self._post("/admin/keys/revoke", ApiKey, KeyId(id=identity))
