"""The manifests of installed models, found by model and read once for each change on disk.

The manifest of a pulled model lies in its repository's folder in the cache; that of any other model under $LMX_HOME.
"""

from pathlib import Path, PurePosixPath

from lmx_daemon.contract.models import Model
from lmx_daemon.library.disk.layout import manifest_file, repository_folder
from lmx_daemon.library.disk.links import refuse_link
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile, read_manifest, write_manifest


class ManifestStore:
    """Manifests by model. `root` holds those of models outside the cache."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[Path, tuple[int, Manifest | None]] = {}

    def file_of(self, model: Model) -> Path:
        """Return the path of the model's manifest, which need not exist."""
        if model.source == "hub" and model.revision:
            return manifest_file(repository_folder(Path(model.path)), model.revision)
        return self._root / f"{model.source}--{model.id.replace('/', '--').replace(':', '--')}.json"

    def get(self, model: Model) -> Manifest | None:
        """Return the model's manifest; None when there is none, or when it names files outside the model's folder."""
        file = self.file_of(model)
        try:
            modified = file.stat().st_mtime_ns
        except OSError:
            self._known.pop(file, None)
            return None
        known = self._known.get(file)
        if known is None or known[0] != modified:
            found = read_manifest(file)
            if found is not None and not all(map(_is_inside, found.files)):
                found = None
            known = self._known[file] = modified, found
        return known[1]

    def write(self, model: Model, manifest: Manifest) -> None:
        """Store the model's manifest. Raises OSError, or DiskError when its folder is a link."""
        file = self.file_of(model)
        if model.source == "hub":
            refuse_link(repository_folder(Path(model.path)), file.parent)
        write_manifest(file, manifest)
        self._known.pop(file, None)


def _is_inside(entry: ManifestFile) -> bool:
    path = PurePosixPath(entry.path)
    return not path.is_absolute() and ".." not in path.parts and path.parts != ()
