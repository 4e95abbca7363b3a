"""A router over a real pool of fake workers, whose catalog has the models that a test names."""

from pathlib import Path
from typing import Any

from lmx_daemon.contract.models import Model
from lmx_daemon.residency.pool import Pool
from lmx_daemon.router.missing import MissingModels
from lmx_daemon.router.names import RouterNames
from lmx_daemon.router.preset_files import PresetFiles
from lmx_daemon.router.router import Router
from lmx_daemon.router.saved_aliases import SavedAliases
from lmx_daemon.settings.schema import RouterSettings
from tests.residency.fakes import Harness


class NamedModels:
    """A catalog of models whose folders hold nothing. A scan finds what `later` names."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.scans = 0
        self.later: list[str] = []
        self._models: dict[str, Model] = {}
        for name in names:
            self.add(name)

    def add(self, name: str, **fields: Any) -> None:
        path = self.folder / name.replace("/", "-")
        path.mkdir(exist_ok=True)
        self._models[name] = Model(id=name, path=str(path), source="folder", **fields)

    def by_id(self) -> dict[str, Model]:
        return self._models

    def find(self, name: str) -> Model:
        return self._models[name]

    async def rescan(self) -> None:
        self.scans += 1
        for name in self.later:
            self.add(name)


class NoPulls:
    """A queue of pulls that refuses nothing and downloads nothing."""

    def __init__(self) -> None:
        self.downloads: list[Any] = []

    def list(self) -> list[Any]:
        return self.downloads


def router_over(pool: Pool, catalog: Any, pulls: Any = None, **settings: Any) -> Router:
    """Return a real router with these settings of [router], whose files are in the catalog's folder."""
    current, home = RouterSettings(**settings), catalog.folder
    names = RouterNames(lambda: current, SavedAliases(home / "aliases.json"), PresetFiles(home / "presets"))
    return Router(lambda: current, names, catalog, pool, MissingModels(pulls or NoPulls()))


class RoutedHarness(Harness):
    """A pool over fake workers whose requests pass through a router."""

    def __init__(self, folder: Path, cap: int, sizes: dict[str, int], **settings: Any) -> None:
        self.catalog = NamedModels(folder)
        for name, size in sizes.items():
            self.catalog.add(name, size=size)
        super().__init__(folder, cap)
        self.router = router_over(self.pool, self.catalog, **settings)

    def find(self, name: str) -> Model:
        return self.catalog.find(name)
