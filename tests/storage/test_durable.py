"""Tests of durable writes, and of the rule that lmx writes its files through them only."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BARRIER = "lmx_daemon/storage/durable.py"
NOT_DURABLE = {
    ("lmx_cli/commands/measurements/bench.py", "write_text"): "a picture that the user exports",
    ("lmx_cli/config_editor.py", "write_bytes"): "a temporary copy for the editor",
    ("lmx_tui/screens/chat/editor.py", "write_text"): "a temporary copy for the editor",
}
"""Direct writes that need no durability, with their reasons."""


CALLS = ("write_text", "write_bytes", "fsync", "fdatasync")


def direct_writes() -> Iterator[tuple[str, str]]:
    """Yield file and name of each call that syncs a file, or writes one, without lmx_daemon.storage."""
    for package in ("lmx_daemon", "lmx_cli", "lmx_tui"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
                if name in CALLS:
                    yield str(file.relative_to(ROOT)), name


def test_files_are_written_and_synced_in_the_storage_package_only() -> None:
    found = {(file, call) for file, call in direct_writes() if file != BARRIER}
    assert found == set(NOT_DURABLE)
