"""`lmx login`, `lmx logout`: the token for gated and private models, stored where all Hub tools store it."""

import logging
import os
import sys
from typing import Any

import typer

from lmx_cli.commands.options import JSON
from lmx_cli.output import ExitCode, Output

DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_NAMES = 500
"""Upper bound on the characters of the names of a user and a token together."""


def add(app: typer.Typer, output: Output) -> None:
    @app.command()
    def login(json: bool = JSON) -> int:
        """Store a Hugging Face token for gated and private models. It is read from the terminal or from stdin."""
        return _login(output, json)

    @app.command()
    def logout(json: bool = JSON) -> int:
        """Delete the Hugging Face tokens of this machine."""
        _hub()
        import huggingface_hub

        huggingface_hub.logout()
        has_token = bool(os.environ.get("HF_TOKEN"))
        output.json({"logged_in": has_token}) if json else output.text("logged out")
        if has_token:
            output.note("HF_TOKEN is still set, and is used")
        return ExitCode.OK


def _login(output: Output, json: bool) -> int:
    from lmx_daemon.contract.errors import AuthenticationError
    from lmx_daemon.contract.text import without_secrets

    endpoint = without_secrets(_hub())
    if sys.stdin.isatty():
        output.note(f"create a token with read access at {endpoint}/settings/tokens")
        token = str(typer.prompt("Token", hide_input=True, err=True)).strip()
    else:
        token = sys.stdin.readline().strip()
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise AuthenticationError("this is not a token", hint=f"create one at {endpoint}/settings/tokens")
    name = _store(endpoint, token)
    output.json({"logged_in": True, "name": name}) if json else output.text(f"logged in as {name}")
    if os.environ.get("HF_TOKEN"):
        output.note("HF_TOKEN is set, and takes precedence over the stored token")
    return ExitCode.OK


def _store(endpoint: str, token: str) -> str:
    """Check the token with the Hub, store it, and return the user's name. Raises AuthenticationError, HubError."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    from lmx_daemon.contract.errors import AuthenticationError, HubError

    try:
        name = _name_of(huggingface_hub.HfApi().whoami(token=token))
        huggingface_hub.login(token=token)
        return name
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            message, hint = "the Hub does not accept this token", f"create one at {endpoint}/settings/tokens"
            raise AuthenticationError(message, hint=hint) from None
        raise HubError(f"{endpoint} answered {status}", hint="try again later") from None
    except (httpx2.HTTPError, OSError) as error:
        reason = " ".join(str(error).split())
        raise HubError(
            f"cannot reach {endpoint}" + (f": {reason}" if reason else ""), hint="check the network"
        ) from None
    except (httpx2.InvalidURL, ValueError, LookupError, TypeError, AttributeError):
        raise HubError(f"{endpoint} does not respond like a Hub", hint="check HF_ENDPOINT") from None


def _name_of(user: dict[str, Any]) -> str:
    """Return the user's name. Raises TypeError, LookupError, AttributeError or ValueError for a wrong response.

    huggingface_hub stores a token under its displayName in a file that it shares with all tokens of the user. A line
    break in that name would damage the file.
    """
    name = user["name"]
    shown = ((user.get("auth") or {}).get("accessToken") or {}).get("displayName") or name
    if not (isinstance(name, str) and isinstance(shown, str)):
        raise TypeError("a name is not a text")
    if not (name + shown).isprintable() or len(name + shown) > MAX_NAMES:
        raise ValueError("a name cannot be stored")
    return name


def _hub() -> str:
    """Return the endpoint, and set it in the environment before huggingface_hub is imported."""
    from lmx_daemon.settings.layers import read_settings
    from lmx_daemon.settings.paths import Home

    if not os.environ.get("HF_ENDPOINT"):
        os.environ["HF_ENDPOINT"] = read_settings(Home.from_environment()).library.endpoint or DEFAULT_ENDPOINT
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return os.environ["HF_ENDPOINT"]
