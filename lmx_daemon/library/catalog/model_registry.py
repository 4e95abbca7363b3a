"""The model registry: the catalog, completed by verification, trust, last use and newer commits on the Hub.

It decides whether a model may be loaded, and does not change the files of models.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import ModelLoadError
from lmx_daemon.contract.models import Model
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.catalog.known_disks import KnownDisks
from lmx_daemon.library.catalog.last_used import LastUsed
from lmx_daemon.library.catalog.roots import ModelRoot, lmstudio_folders
from lmx_daemon.library.verify.changes import broken_headers, changed_files
from lmx_daemon.library.verify.code_files import code_in
from lmx_daemon.library.verify.manifest_store import ManifestStore
from lmx_daemon.library.verify.trust import TrustStore, untrusted_code
from lmx_daemon.settings.paths import Home, hub_cache
from lmx_daemon.settings.schema import LibrarySettings

MAX_SHOWN = 2
"""Number of code files that the problem of a model names."""


class ModelRegistry:
    """The installed models, with their manifests, trust, last use and updates."""

    def __init__(self, home: Home, settings: Callable[[], LibrarySettings], environ: Mapping[str, str]) -> None:
        self.root = home.root / "library"
        self.imported = home.root / "models"
        self.manifests = ManifestStore(self.root / "proofs")
        self.trust = TrustStore(self.root / "trusted.json")
        self.last_used = LastUsed(self.root / "used.json")
        self.newer: Callable[[Model], str | None] = lambda model: None
        """Returns the commit on the Hub if it differs from the installed one; set by the check for updates."""
        self.disks = KnownDisks(self.root / "disks.json", home.root)
        self.cache = hub_cache(environ, settings().cache)
        self.catalog = Catalog(
            environ,
            list(self._roots(settings(), environ)),
            complete=self._complete,
            saved=self.root / "described.msgpack",
            disks=self.disks,
        )

    def find(self, name: str) -> Model:
        """Return a model from memory for a request or a load, and note its use. Raises ModelNotFoundError."""
        model = self.catalog.find(name)
        self.last_used.note(model.id)
        return model

    def clear(self, model: Model) -> bool:
        """Check a model before its load, and return whether its own code may run. Blocking.

        Raises UntrustedModelError for code that is not trusted, and ModelLoadError for files that have changed.
        """
        self.refuse_changed(model)
        if faults := broken_headers(Path(model.path)):
            raise ModelLoadError(
                f"{model.id} cannot be loaded: {faults[0].path} {faults[0].reason}", hint=repair_hint(model)
            )
        folder = Path(model.path)
        code = code_in(folder, {file.name for file in folder.iterdir()})  # the catalog may be out of date
        if not code:
            return False
        if self.trust.allows(model):
            return True
        raise untrusted_code(model.id, code)

    def refuse_changed(self, model: Model) -> None:
        """Raise ModelLoadError when a file differs from the manifest. Blocking."""
        manifest = self.manifests.get(model)
        faults = changed_files(manifest, Path(model.path)) if manifest else []
        if faults:
            raise ModelLoadError(
                f"{model.id} cannot be loaded: {faults[0].path} {faults[0].reason} since it was verified",
                hint=repair_hint(model),
            )

    def _roots(self, settings: LibrarySettings, environ: Mapping[str, str]) -> Iterable[ModelRoot]:
        yield ModelRoot("hub", self.cache)
        yield ModelRoot("imported", self.imported)
        if settings.lmstudio:
            yield from (ModelRoot("lmstudio", folder) for folder in lmstudio_folders(environ))
        yield from (ModelRoot("folder", Path(os.path.expanduser(folder))) for folder in settings.folders)

    def _complete(self, model: Model) -> Model:
        if model.source == "built-in":
            return msgspec.structs.replace(model, used_at=self.last_used.at(model.id))
        manifest = self.manifests.get(model)
        problem = model.problem
        if problem is None and manifest is not None and (faults := changed_files(manifest, Path(model.path))):
            more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
            problem = f"changed since it was verified ({faults[0].name}{more}): lmx verify {model.id}"
        trusted = bool(model.code) and self.trust.is_listed(model)
        if problem is None and model.code and not trusted:
            names = ", ".join(model.code[:MAX_SHOWN]) + (", ..." if len(model.code) > MAX_SHOWN else "")
            problem = f"contains code or pickles ({names}): see lmx trust {model.id}"
        return msgspec.structs.replace(
            model,
            problem=problem,
            trusted=trusted,
            used_at=self.last_used.at(model.id),
            verified_at=manifest.proved_at if manifest else None,
            newer=self.newer(model),
        )


def repair_hint(model: Model) -> str:
    """Return the hint for a model whose files differ from the manifest."""
    effect = "fetches the wrong files again" if model.source == "hub" else "lists the wrong files"
    repair = f"lmx verify {model.id}" + (" --repair" if model.source == "hub" else "")
    return f"`{repair}` {effect}; if the change is intended: lmx verify {model.id} --accept"
