"""The principals that the guards give to requests: by key, by socket, and by the settings."""

import msgspec

from lmx_daemon.contract.admin.keys import ApiKey
from lmx_daemon.contract.principal import Principal

KEY_HOLDER = Principal(
    tenant="key:default", key="default", scopes=frozenset({"infer", "read", "pull", "manage"}), max_priority=9
)
"""Holder of the API key of the settings. All its requests count for this tenant, whatever their `user` is."""
KEYLESS = Principal(tenant="http", scopes=frozenset({"infer", "read"}), max_priority=9)
"""Any client of a daemon without an API key.

Only this machine reaches such a daemon, and nothing about its clients is verified: User-Agent and `user` are free text.
So all of them are one tenant, which has one share beside the TUI and the command line. Programs divide that share, and
users divide their program's, so that neither a new User-Agent nor a new `user` adds a share.
"""
KEYLESS_MANAGER = msgspec.structs.replace(KEYLESS, scopes=KEYLESS.scopes | {"pull", "manage"})
"""Any client of a daemon without an API key whose settings allow management on the public port."""
ANONYMOUS = Principal(tenant="http")
"""A request without a key to a path that needs none."""
OWNER = Principal(tenant="local", scopes=frozenset({"infer", "read", "pull", "manage", "admin"}))
"""Client of the admin socket, which only the owner of the daemon can open. It names the tenant of its requests."""


def key_principal(key: ApiKey) -> Principal:
    """Return the principal of a key that was made by `lmx key create`. The key is the tenant."""
    return Principal(
        tenant=f"key:{key.id}",
        key=key.id,
        scopes=frozenset(key.scopes),
        max_priority=key.max_priority,
        min_priority=key.min_priority,
        models=key.models,
        rate=key.rate,
        concurrency=key.concurrency,
    )
