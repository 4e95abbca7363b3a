"""The two Litestar apps: public (TCP) and admin (Unix socket), each behind its guard."""

from collections.abc import Callable
from typing import Any

from litestar import Litestar
from litestar.datastructures import State

from lmx_daemon.http.admin import library_routes as admin_library
from lmx_daemon.http.admin import routes as admin
from lmx_daemon.http.dialects.openai_chat import routes as openai
from lmx_daemon.http.errors import admin_handler, public_handler
from lmx_daemon.http.guard import AdminGuard, App, PublicGuard
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.settings.schema import ServerSettings

ADMIN_BODY_BYTES = 256 * 1024 * 1024


def public_app(state: dict[str, Any], settings: Callable[[], ServerSettings], address: str) -> App:
    """What port 1234 serves."""
    bodies: BodyReader = state["bodies"]
    app = _litestar(openai.ROUTES, state, public_handler, None)  # the guard bounds bodies, by the setting in force
    return PublicGuard(app, settings, address, bodies)


def admin_app(state: dict[str, Any]) -> App:
    """What the admin socket serves."""
    return AdminGuard(_litestar([*admin.ROUTES, *admin_library.ROUTES], state, admin_handler, ADMIN_BODY_BYTES))


def _litestar(routes: list[Any], state: dict[str, Any], handler: Any, body_bytes: int | None) -> Any:
    return Litestar(
        route_handlers=routes,
        state=State(state),
        exception_handlers={Exception: handler},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=body_bytes,
    )
