"""A recorded request, made ready to be sent again. Pure."""

import uuid

import msgspec

from lmx_daemon.contract.errors import UnsupportedError
from lmx_daemon.contract.generation.requests import Generate, Request


def replayed(request: Request, model: str, *, client: str, tenant: str) -> Generate:
    """Return a recorded request for `model`, with a new id, one choice and no deadline.

    `client` and `tenant` are those of the program that replays it. Raise UnsupportedError for a request that generates
    nothing.
    """
    if not isinstance(request, Generate):
        raise UnsupportedError(f"the request {request.id} generates nothing, so it cannot be replayed")
    return msgspec.structs.replace(
        request, id=f"replay-{uuid.uuid4().hex[:12]}", model=model, client=client, tenant=tenant, user="", choices=1,
        deadline=None, queue_deadline=None, asked="", routed="", traceparent="",
    )  # fmt: skip
