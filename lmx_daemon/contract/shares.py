"""The shares that requests are counted for, where clients compete for places in a queue and for turns. Pure.

The levels are nested because only the tenant is verified: a client that invents program or user names divides its own
tenant's share, and takes nothing from other tenants.
"""

from lmx_daemon.contract.generation.requests import Computation, Request

Share = tuple[str, ...]
"""Tenant; tenant and client program; or tenant, client program and user."""


def share_of(request: Request | Computation) -> Share:
    """Return the narrowest share that a request is counted for."""
    match request:
        case Computation():
            return request.tenant, request.client, request.user
        case _:
            return request.tenant, "", ""
