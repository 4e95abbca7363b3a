"""The models as the daemon knows them: what their files say, completed by proofs, trust, uses and upstream's news, and
the one answer to whether a model may be loaded. It changes no model's files."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from lmx_daemon.contract.errors import ModelLoadError
from lmx_daemon.contract.types import Model
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.catalog.last_used import LastUsed
from lmx_daemon.library.catalog.roots import ModelRoot, lmstudio_folders
from lmx_daemon.library.disk.layout import hub_cache
from lmx_daemon.library.verify.changes import broken_headers, changed_files
from lmx_daemon.library.verify.code_files import code_in
from lmx_daemon.library.verify.manifest_store import ManifestStore
from lmx_daemon.library.verify.trust import TrustStore, untrusted_code
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import LibrarySettings

SHOWN = 2


class ModelRegistry:
    def __init__(self, home: Home, settings: Callable[[], LibrarySettings], environ: Mapping[str, str]) -> None:
        self.root = home.root / "library"
        self.imported = home.root / "models"
        self.manifests = ManifestStore(self.root / "proofs")
        self.trust = TrustStore(self.root / "trusted.json")
        self.last_used = LastUsed(self.root / "used.json")
        self.newer: Callable[[Model], str | None] = lambda model: None
        """Upstream's commit where it is another one; set by who asks the Hub."""
        self.cache = hub_cache(environ)
        self.catalog = Catalog(
            environ,
            list(self._places(settings(), environ)),
            complete=self._complete,
            kept=self.root / "described.msgpack",
        )

    def find(self, name: str) -> Model:
        """Return a model for a request or a load, from memory; it counts as used. Raises ModelNotFoundError."""
        model = self.catalog.find(name)
        self.last_used.note(model.id)
        return model

    def clear(self, model: Model) -> bool:
        """Whether the model's own code may run; blocking, for a thread.

        Raises UntrustedModelError for code that nobody allowed, and ModelLoadError for files that have changed.
        """
        self.refuse_changed(model)
        if faults := broken_headers(Path(model.path)):
            raise ModelLoadError(
                f"{model.id} cannot be loaded: {faults[0].path} {faults[0].reason}", hint=way_out(model)
            )
        folder = Path(model.path)
        code = code_in(folder, {file.name for file in folder.iterdir()})  # the listing may be a second old
        if not code:
            return False
        if self.trust.allows(model):
            return True
        raise untrusted_code(model.id, code)

    def refuse_changed(self, model: Model) -> None:
        manifest = self.manifests.get(model)
        faults = changed_files(manifest, Path(model.path)) if manifest else []
        if faults:
            raise ModelLoadError(
                f"{model.id} cannot be loaded: {faults[0].path} {faults[0].reason} since it was proved",
                hint=way_out(model),
            )

    def _places(self, settings: LibrarySettings, environ: Mapping[str, str]) -> Iterable[ModelRoot]:
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
            problem = f"changed since it was proved ({faults[0].name}{more}): lmx verify {model.id}"
        trusted = bool(model.code) and self.trust.is_listed(model)
        if problem is None and model.code and not trusted:
            names = ", ".join(model.code[:SHOWN]) + (", ..." if len(model.code) > SHOWN else "")
            problem = f"carries code or pickles ({names}): see lmx trust {model.id}"
        return msgspec.structs.replace(
            model,
            problem=problem,
            trusted=trusted,
            used_at=self.last_used.at(model.id),
            verified_at=manifest.proved_at if manifest else None,
            newer=self.newer(model),
        )


def way_out(model: Model) -> str:
    mend = "fetches what is wrong again" if model.source == "hub" else "tells which files are wrong"
    repair = f"lmx verify {model.id}" + (" --repair" if model.source == "hub" else "")
    return f"`{repair}` {mend}; if the change is yours: lmx verify {model.id} --accept"


def age(at: float) -> str:
    """In words: "3 minutes", "2 days"."""
    seconds = max(0.0, time.time() - at)
    for name, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "a moment"
