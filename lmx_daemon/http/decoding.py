"""Decoding of a request's JSON body to a struct, with errors that name the field."""

import re
from typing import TypeVar
from urllib.parse import unquote

import msgspec

from lmx_daemon.contract.admin.protocol import HUB_HEADER
from lmx_daemon.contract.errors import RequestError
from lmx_daemon.http.context import AnyRequest

T = TypeVar("T")
PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Escape of a surrogate, which is half a character. Programs that cut texts by length leave one without its pair."""


def decode(body: bytes, kind: type[T]) -> T:
    """Return `body` as `kind`. Raise RequestError that names the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        place = PLACE.search(text)
        param = place["place"] if place else None
        message = PLACE.sub("", text)
        missing = re.search(r"missing required field `(\w+)`", message)
        if missing:
            param = f"{param}.{missing[1]}" if param else missing[1]
        raise RequestError(f"{param}: {message}" if param else message, param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        surrogate = LONE_SURROGATE.search(body)
        hint = "is there half a character, \\ud83d without its other half, in a text?" if surrogate else None
        raise RequestError(f"the body is not JSON: {error}", hint=hint) from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error


async def body_of(request: AnyRequest, kind: type[T]) -> T:
    """Return the request's body as `kind`. Raise RequestError that names the field."""
    return decode(await request.body(), kind)


def hub_of(request: AnyRequest) -> str | None:
    """Return the Hub's address from the caller's environment; None leaves the choice to the daemon."""
    return unquote(request.headers.get(HUB_HEADER, "")) or None
