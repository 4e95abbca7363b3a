"""The admin protocol: its version, its headers, and the requests that load and unload a model."""

from typing import Annotated

import msgspec

from lmx_daemon.contract.frozen import Frozen
from lmx_daemon.contract.models import Instance

PROTOCOL = 2
"""Version of the admin protocol. A client and a daemon with different versions refuse each other."""
HUB_HEADER = "x-lmx-hub"
"""Header with HF_ENDPOINT of the caller, percent-encoded. It may differ from that of the daemon."""
PROTOCOL_HEADER = "x-lmx-protocol"
REQUEST_ID_HEADER = "x-request-id"
Size = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class LoadRequest(Frozen, frozen=True):
    """Request to load a model."""

    model: str
    context_length: Size | None = None
    ttl: float | None = None
    slots: Size | None = None
    """Number of sequences decoded together; memory for all of them at full length is reserved."""
    pin: bool | None = None
    """Whether the model is exempt from eviction; None does not change it."""


class UnloadRequest(Frozen, frozen=True):
    """Request to unload by instance id or model id; `force` does not wait for running requests."""

    id: str
    force: bool = False


class LoadUpdate(Frozen, frozen=True):
    """Line of the answer to LoadRequest. The state of the last one is "ready" or "failed"."""

    instance: Instance
