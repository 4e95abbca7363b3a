"""The schema of config.toml: one frozen struct for each table, in lmx_daemon/settings/sections.

The metadata of each key holds its help, its reload behaviour and its checks, so that they are readable at run time.
keys.py lists them; `lmx config`, docs/config.md and the admin socket show that list.
"""

from lmx_daemon.settings.sections.chats import ChatSection
from lmx_daemon.settings.sections.engine import EngineSettings
from lmx_daemon.settings.sections.history import HistorySettings
from lmx_daemon.settings.sections.library import LibrarySettings
from lmx_daemon.settings.sections.logs import LogSettings
from lmx_daemon.settings.sections.metrics import MetricsSettings
from lmx_daemon.settings.sections.models import ModelSettings
from lmx_daemon.settings.sections.router import RouterSettings
from lmx_daemon.settings.sections.section import Section
from lmx_daemon.settings.sections.server import DEFAULT_PORT, ServerSettings
from lmx_daemon.settings.sections.traces import TraceSettings
from lmx_daemon.settings.sections.tui import TuiSettings

__all__ = [
    "DEFAULT_PORT",
    "ChatSection",
    "EngineSettings",
    "HistorySettings",
    "LibrarySettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "RouterSettings",
    "ServerSettings",
    "Settings",
    "TraceSettings",
    "TuiSettings",
]


class Settings(Section, frozen=True):
    """All settings. A new value replaces the whole struct; see source.py."""

    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    library: LibrarySettings = LibrarySettings()
    models: dict[str, ModelSettings] = {}
    router: RouterSettings = RouterSettings()
    history: HistorySettings = HistorySettings()
    chats: ChatSection = ChatSection()
    metrics: MetricsSettings = MetricsSettings()
    logs: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()
    tui: TuiSettings = TuiSettings()
