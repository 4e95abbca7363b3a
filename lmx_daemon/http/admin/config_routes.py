"""The admin socket's routes for settings."""

from litestar import get, patch, post
from litestar.di import NamedDependency

from lmx_daemon.contract.admin.config import ConfigReload, ConfigSet, ConfigView
from lmx_daemon.http.context import AnyRequest
from lmx_daemon.http.decoding import body_of
from lmx_daemon.settings.live_config import LiveConfig


@get("/admin/config")
async def view(config: NamedDependency[LiveConfig]) -> ConfigView:
    """Return all settings with their values in force."""
    return config.view()


@patch("/admin/config")
async def set_key(request: AnyRequest, config: NamedDependency[LiveConfig]) -> ConfigReload:
    """Set one key in the file, or remove it, and put it in force if it can change now."""
    given = await body_of(request, ConfigSet)
    return await config.set(given.key, given.value)


@post("/admin/config/reload", status_code=200)
async def reload(config: NamedDependency[LiveConfig]) -> ConfigReload:
    """Read the file again."""
    return await config.reload()


ROUTES = [view, set_key, reload]
