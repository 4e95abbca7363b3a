"""Cross-origin requests: every route answers the origins of the settings, and no others."""

from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.http.dialects.registry import public_dialects
from lmx_daemon.settings.config_file import parse_config
from tests.http.asgi import FakePool, ask, public_app_over

LISTED, OTHER = "https://app.example", "https://other.example"
ROUTES = sorted(
    {
        (method, path.replace("{", "").replace("}", ""))
        for dialect in public_dialects().all
        for route in dialect.routes
        for path in route.paths
        for method in route.http_methods
        if method in ("GET", "POST", "DELETE")
    }
)


def test_every_method_of_a_route_is_covered() -> None:
    assert {method for method, _ in ROUTES} == {"GET", "POST", "DELETE"} and len(ROUTES) > 30


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_route_answers_listed_origins_only(method: str, path: str) -> None:
    app = public_app_over(FakePool(lambda _: []), allowed_origins=(LISTED,), require_key=True)
    asked = {"access_control_request_method": method, "access_control_request_headers": "authorization,content-type"}
    allowed = await ask(app, "OPTIONS", path, origin=LISTED, **asked)
    assert allowed.status == 204 and allowed.headers["access-control-allow-origin"] == LISTED
    assert method in allowed.headers["access-control-allow-methods"]
    for name in ("authorization", "x-api-key", "content-type"):
        assert name in allowed.headers["access-control-allow-headers"]
    for each in ("OPTIONS", method):
        refused = await ask(app, each, path, origin=OTHER, **asked)
        assert refused.status == 403 and not [name for name in refused.headers if name.startswith("access-control")]
    body = {} if method != "GET" else None
    answer = await ask(app, method, path, body, origin=LISTED)
    assert answer.headers["access-control-allow-origin"] == LISTED and "origin" in answer.headers["vary"]
    if path not in ("/", "/health", "/api/hello"):
        assert answer.status == 401, "an allowed origin is no key"
    assert "*" not in answer.headers["access-control-allow-origin"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example", "https://*.example", "https://a.example/path", "https://"]
)
def test_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.allowed_origins: .* is not an origin"):
        parse_config(f'[server]\nallowed_origins = ["{origin}"]'.encode(), Path("config.toml"))


@pytest.mark.parametrize(
    "origin", ["https://app.example", "http://localhost:3000/", "app://obsidian.md", "http://[::1]:3"]
)
def test_origins_of_pages_and_programs_are_accepted(origin: str) -> None:
    parse_config(f'[server]\nallowed_origins = ["{origin}"]'.encode(), Path("config.toml"))
