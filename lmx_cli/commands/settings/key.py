"""`lmx key`: API keys of the public port. Its commands need no daemon; a running one applies changes at once."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from lmx_cli.commands.options import JSON, usage_faults
from lmx_cli.output import ExitCode, Output
from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.units import duration

if TYPE_CHECKING:
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.admin.keys import ApiKey, CreatedKey, KeyRequest
    from lmx_daemon.storage.keys import KeyStore

T = TypeVar("T")
NAME = Annotated[str, typer.Argument(metavar="NAME", help="Label of the key, such as the program that uses it.")]
SCOPE = typer.Option(
    [], "--scope", metavar="SCOPE", help="infer, read, pull or manage; repeatable. Default: infer and read."
)
MODEL = typer.Option(
    [], "--model", metavar="PATTERN", help="Model that the key may use, as org/*; repeatable. Default: all."
)
EXPIRES = typer.Option(None, "--expires", metavar="TIME", help="Time until the key expires: 30d, 12h, 90m or 45s.")
RATE = typer.Option(None, "--rate", min=1, max=100_000, help="Maximum number of requests a minute.")
CONCURRENCY = typer.Option(None, "--concurrency", min=1, max=100_000, help="Maximum number of requests at once.")
PRIORITY = typer.Option(
    None, "--priority", metavar="LOW:HIGH", help="Range of priorities of its requests, as --priority=-10:0."
)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def add(app: typer.Typer, output: Output) -> None:
    group = typer.Typer(help="Create, list or revoke API keys.", no_args_is_help=True)
    app.add_typer(group, name="key")

    @group.command()
    def create(
        name: NAME,
        scope: list[str] = SCOPE,
        model: list[str] = MODEL,
        expires: str | None = EXPIRES,
        rate: int | None = RATE,
        concurrency: int | None = CONCURRENCY,
        priority: str | None = PRIORITY,
        json: bool = JSON,
    ) -> int:
        """Create an API key and print its secret, which is shown only once."""
        with usage_faults():
            asked = request_of(name, scope, model, expires, rate, concurrency, priority)
        return asyncio.run(_create(output, asked, json))

    @group.command("list")
    def show_all(json: bool = JSON) -> int:
        """List the API keys without their secrets."""
        return asyncio.run(_list(output, json))

    @group.command()
    def revoke(
        identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `lmx key list` shows it.")],
        json: bool = JSON,
    ) -> int:
        """Revoke an API key. Its next request is refused."""
        return asyncio.run(_revoke(output, identity, json))


def request_of(
    name: str,
    scopes: list[str],
    models: list[str],
    expires: str | None,
    rate: int | None,
    concurrency: int | None,
    priority: str | None,
) -> "KeyRequest":
    """Return the request of the options. Raise RequestError."""
    import msgspec

    from lmx_daemon.contract.admin.keys import KeyRequest

    fields: dict[str, Any] = {"name": name, "models": models, "rate": rate, "concurrency": concurrency}
    if scopes:
        fields["scopes"] = scopes_of(scopes)
    if expires is not None:
        fields["seconds"] = seconds_of(expires)
    if priority is not None:
        fields["min_priority"], fields["max_priority"] = range_of(priority)
    try:
        return msgspec.convert(fields, KeyRequest)
    except msgspec.ValidationError as error:
        raise RequestError(f"this key cannot be made: {error}", hint="priorities are -10 to 9") from None


def scopes_of(texts: list[str]) -> list[str]:
    """Return the scopes that the options name, one or several in each. Raise RequestError for another word."""
    from lmx_daemon.contract.admin.keys import KeyScope

    known = get_args(KeyScope)
    scopes = [scope.strip() for each in texts for scope in each.split(",")]
    if unknown := [scope for scope in scopes if scope not in known]:
        raise RequestError(f"--scope is {unknown[0]!r}, which is not a scope", hint=f"scopes are {', '.join(known)}")
    return scopes


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as 30d. Raise RequestError."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    if not found:
        raise RequestError(f"--expires is {text!r}, which is not a duration", hint="write it as 30d, 12h, 90m or 45s")
    return float(int(found[1]) * UNITS[found[2]])


def range_of(text: str) -> tuple[int, int]:
    """Return the two ends of a range such as -10:0. Raise RequestError."""
    from lmx_daemon.contract.admin.keys import HIGHEST_KEY_PRIORITY as HIGHEST
    from lmx_daemon.contract.principal import LOWEST_PRIORITY as LOWEST

    found = re.fullmatch(r"(-?\d{1,2}):(-?\d{1,2})", text.strip())
    if not found or not LOWEST <= int(found[1]) <= int(found[2]) <= HIGHEST:
        raise RequestError(
            f"--priority is {text!r}, which is not a range",
            hint=f"write it as --priority=-10:0, within {LOWEST}:{HIGHEST}",
        )
    return int(found[1]), int(found[2])


async def _changed(by_daemon: "Callable[[Client], Awaitable[T]]", by_file: "Callable[[KeyStore], T]") -> T:
    """Return the result of `by_daemon`, or of `by_file` if no daemon runs."""
    from lmx_daemon.client.client import Client
    from lmx_daemon.contract.errors import DaemonSilentError, DaemonUnreachableError
    from lmx_daemon.settings.paths import Home
    from lmx_daemon.storage.keys import KeyStore

    home = Home.from_environment()
    try:
        async with Client.of(home) as client:
            return await by_daemon(client)
    except DaemonSilentError:
        raise
    except DaemonUnreachableError:
        home.make()
        return by_file(KeyStore(home.keys))


async def _create(output: Output, asked: "KeyRequest", json: bool) -> int:
    made: CreatedKey = await _changed(lambda client: client.create_key(asked), lambda store: store.create(asked))
    if json:
        output.json(made)
        return ExitCode.OK
    output.text(made.secret)
    output.note(
        f"key {made.key.id} for {made.key.name}: {', '.join(made.key.scopes)}",
        "the secret is not stored and cannot be shown again; send it as Authorization: Bearer KEY or x-api-key: KEY",
    )
    return ExitCode.OK


async def _list(output: Output, json: bool) -> int:
    rows: list[ApiKey] = await _changed(lambda client: client.keys(), lambda store: store.rows())
    if json:
        output.json(rows)
    elif rows:
        output.table(
            ("ID", "NAME", "SCOPES", "MODELS", "LIMITS", "CREATED", "USED", "EXPIRES"),
            [row_of(row, time.time()) for row in rows],
            spare=("CREATED", "LIMITS", "MODELS", "USED", "EXPIRES"),
            elide=("NAME", "MODELS", "SCOPES"),
        )
    else:
        output.note("there are no API keys; `lmx key create NAME` makes one")
    return ExitCode.OK


def row_of(key: "ApiKey", now: float) -> tuple[str, ...]:
    """Return the cells of a key in the list."""
    limits = [f"{key.rate}/min"] if key.rate else []
    limits += [f"{key.concurrency} at once"] if key.concurrency else []
    expires = "never" if key.expires_at is None else f"in {duration(key.expires_at - now)}"
    return (
        key.id,
        key.name,
        ",".join(key.scopes),
        ", ".join(key.models) or "all",
        ", ".join(limits) or "-",
        f"{duration(now - key.created_at)} ago",
        f"{duration(now - key.used_at)} ago" if key.used_at else "-",
        "expired" if key.expires_at is not None and key.expires_at <= now else expires,
    )


async def _revoke(output: Output, identity: str, json: bool) -> int:
    key: ApiKey = await _changed(lambda client: client.revoke_key(identity), lambda store: store.revoke(identity))
    output.json(key) if json else output.text(f"revoked the key {key.id} of {key.name}")
    return ExitCode.OK
