"""The facts about this installation of lmx: metadata of the package, and files of its environment. It only reads."""

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from lmx_cli.installation.origin import InstallationFacts

RECEIPTS = ("uv-receipt.toml", "pipx_metadata.json")


def installation_facts() -> InstallationFacts:
    """Return the facts. A checkout without metadata counts as an editable installation of it."""
    prefix = Path(sys.prefix)
    try:
        found = importlib.metadata.distribution("lmx")
    except importlib.metadata.PackageNotFoundError:
        checkout = Path(__file__).parents[2].as_uri()
        return InstallationFacts(python=sys.executable, prefix=prefix, source=checkout, editable=True)
    return facts_of(found.read_text("direct_url.json"), found.read_text("INSTALLER"), prefix, sys.executable)


def facts_of(direct_url: str | None, installer: str | None, prefix: Path, python: str) -> InstallationFacts:
    """Return the facts from the files of the metadata; see the specification "Direct URL data structure" of PyPA."""
    origin = _object(direct_url)
    url = origin.get("url") if isinstance(origin.get("url"), str) else ""
    vcs, folder = origin.get("vcs_info"), origin.get("dir_info")
    if url and isinstance(vcs, dict) and isinstance(vcs.get("vcs"), str):
        url = f"{vcs['vcs']}+{url}"
    return InstallationFacts(
        python=python,
        prefix=prefix,
        installer=(installer or "").strip(),
        source=url or "",
        editable=isinstance(folder, dict) and folder.get("editable") is True,
        receipts=tuple(name for name in RECEIPTS if (prefix / name).is_file()),
    )


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
