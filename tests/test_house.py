"""Rules that neither ruff nor import-linter checks: imports at run time, unique names of types, files in documents."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("lmx_daemon", "lmx_tui", "lmx_cli", "training")
DIALECTS = Path("lmx_daemon/http/dialects")
ENGINE = ("mlx", "mlx_lm", "transformers")
SERVER = ("litestar", "uvicorn")
UNUSED = ("httpx", "httpcore", "polyfactory", "faker", "litestar_htmx", "rich", "rich_click")
"""Packages that Litestar requires for features that the daemon does not use; its process does not load them."""
FORBIDDEN = {
    "lmx_daemon.client.client": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy", "typer"),
    "lmx_daemon.client.spawn": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy"),
    "lmx_daemon.main": (
        *ENGINE,
        *UNUSED,
        "prometheus_client",
        "opentelemetry",
        "textual",
        "huggingface_hub",
        "numpy",
        "typer",
    ),
    "lmx_cli.main": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy", "typer", "httpx2"),
    "lmx_cli.commands.memory.models": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy", "httpx2"),
    "lmx_cli.commands.measurements.bench": (
        *ENGINE,
        *SERVER,
        "textual",
        "huggingface_hub",
        "numpy",
        "httpx2",
        "psutil",
    ),
    "lmx_tui.app": (*ENGINE, *SERVER, "huggingface_hub", "numpy", "httpx2"),
    "lmx_daemon.engines.mlx.engine": (*ENGINE, *SERVER),  # it imports MLX in `open_engine`, and reports a missing one
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_import_loads_no_forbidden_package(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {FORBIDDEN[module]!r} if name in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == ""


def types_of(tree: ast.Module) -> Iterator[str]:
    """Yield the names of a module's classes and type aliases."""
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if name[0].isupper() and not name.isupper():
                yield name


def test_each_type_has_one_definition() -> None:
    """A dialect may repeat a name of another dialect, since both are the names of wire formats."""
    found: dict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            place = file.relative_to(ROOT)
            shared = str(DIALECTS) if DIALECTS in place.parents else str(place)
            for name in types_of(ast.parse(file.read_text())):
                found[name].add(shared)
    repeated = {name: places for name, places in found.items() if len(places) > 1}
    assert not repeated, f"rename one of each: {repeated}"


NAMED_FILE = re.compile(r"(?<![\w/.-])((?:[\w-]+/)+[\w-]+\.py|(?<=`)[\w-]+\.py(?=`))")
"""A Python file in a document: a path, or a name between backquotes."""
TO_WRITE = "NAME"
"""Part of the paths of files that a guide asks the reader to create."""


def test_each_python_file_that_a_document_names_exists() -> None:
    """A document may name a file by the end of its path."""
    folders = (*PACKAGES, "tests", "scripts")
    files = [f"/{file.relative_to(ROOT)}" for folder in folders for file in (ROOT / folder).rglob("*.py")]
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "training" / "README.md"]
    missing = [
        f"{document.relative_to(ROOT)}: {name}"
        for document in documents
        if document.name != "CHANGELOG.md"
        for name in NAMED_FILE.findall(document.read_text())
        if TO_WRITE not in name and not any(file.endswith(f"/{name}") for file in files)
    ]
    assert not missing
