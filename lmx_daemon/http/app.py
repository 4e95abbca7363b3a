"""The two Litestar apps: public (TCP) and admin (Unix socket), each behind its guard."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from litestar import Litestar
from litestar.di import Provide

from lmx_daemon.http.admin.dialect import Admin
from lmx_daemon.http.dialect import Dialects
from lmx_daemon.http.dialects.registry import public_dialects
from lmx_daemon.http.errors import error_handler
from lmx_daemon.http.guard.access import Verify, is_exposed, no_keys
from lmx_daemon.http.guard.asgi import AsgiApp, BuiltLater
from lmx_daemon.http.guard.guards import AdminGuard, PublicGuard
from lmx_daemon.http.guard.remote_admin import RemoteAdmin
from lmx_daemon.http.management import ModelManagement
from lmx_daemon.http.openapi import OpenApiDocument
from lmx_daemon.http.parts import Parts, provide
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.http.service import ModelService
from lmx_daemon.http.stored_answers import StoredAnswers
from lmx_daemon.monitor.metrics.page import MetricsPage
from lmx_daemon.settings.schema import ServerSettings
from lmx_daemon.storage.answers import AnswerLimits, AnswerStore

ADMIN_BODY_BYTES = 256 * 1024 * 1024


def public_app_of(
    parts: Parts, settings: Callable[[], ServerSettings], address: str, others: Sequence[str] = ()
) -> AsgiApp:
    """Return the app of the public port with the dialects of the daemon. `others` are further URLs of it."""
    management = ModelManagement(parts.pool, parts.library, parts.pulls, parts.router)
    answers = StoredAnswers(AnswerStore(parts.home.answers, lambda: answer_limits(settings())))
    dialect = Admin()
    admin = RemoteAdmin(dialect, _admin_litestar(dialect, parts), settings, is_exposed(address))
    more = (parts.metrics, parts.keys.verify, admin, others)
    return public_app(parts.service, parts.bodies, management, answers, settings, address, None, *more)


def answer_limits(settings: ServerSettings) -> AnswerLimits:
    """Return the bounds on stored answers."""
    return AnswerLimits(settings.answer_days * 86_400, settings.answer_bytes)


def public_app(
    service: ModelService,
    bodies: BodyReader,
    management: ModelManagement,
    answers: StoredAnswers,
    settings: Callable[[], ServerSettings],
    address: str,
    dialects: Dialects | None = None,
    metrics: MetricsPage | None = None,
    verify: Verify = no_keys,
    admin: RemoteAdmin | None = None,
    others: Sequence[str] = (),
) -> AsgiApp:
    """Return the app of the public port for `dialects`, by default those of the registry.

    Without `metrics`, /metrics fails and nothing is counted.
    """
    dialects = dialects or public_dialects()
    dependencies = {
        "service": provide(service),
        "document": provide(OpenApiDocument(dialects)),
        "management": provide(management),
        "answers": provide(answers),
        "metrics": provide(metrics),
    }
    app = _litestar(dialects, dependencies, None)  # the guard bounds bodies, by the setting in force
    responded = {"responded": metrics.responded} if metrics else {}
    return PublicGuard(app, dialects, settings, address, bodies, verify=verify, admin=admin, others=others, **responded)


def admin_app(parts: Parts) -> AsgiApp:
    """Return the app of the admin socket."""
    dialect = Admin()
    return AdminGuard(_admin_litestar(dialect, parts), Dialects([dialect]))


def _admin_litestar(dialect: Admin, parts: Parts) -> AsgiApp:
    return BuiltLater(partial(_litestar, Dialects([dialect]), parts.dependencies(), ADMIN_BODY_BYTES))


def _litestar(dialects: Dialects, dependencies: Mapping[str, Provide], body_bytes: int | None) -> Any:
    return Litestar(
        route_handlers=[route for dialect in dialects.all for route in dialect.routes],
        dependencies=dependencies,
        exception_handlers={Exception: error_handler},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=body_bytes,
    )
