"""Manifests on the disk."""

from pathlib import Path

import pytest

from lmx_daemon.library.disk.layout import manifest_file
from lmx_daemon.library.verify.manifest import Manifest, ManifestFile, read_manifest, write_manifest

FILES = (
    ManifestFile(path="config.json", size=3, git_sha1="a" * 40, modified_ns=5),
    ManifestFile(path="model.safetensors", size=9, git_sha1="b" * 40, sha256="c" * 64),
)
MANIFEST = Manifest(repo="maker/tiny", commit="d" * 40, files=FILES, skipped=("x.bin",), proved_at=1.0)


def test_written_manifest_is_read(tmp_path: Path) -> None:
    file = manifest_file(tmp_path / "models--maker--tiny", MANIFEST.commit)
    write_manifest(file, MANIFEST)
    assert read_manifest(file) == MANIFEST
    assert [entry.blob for entry in MANIFEST.files] == ["a" * 40, "c" * 64] and MANIFEST.size == 12
    assert [left.name for left in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"repo": "a/b", "commit": "c", "files": [], "format": 2}',
        b'{"repo": "a/b", "commit": "c", "files": [{"path": "x", "size": 1}]}',
    ],
    ids=["empty", "list", "bytes", "deep", "newer", "no hash"],
)
def test_damaged_manifest_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(content)
    assert read_manifest(tmp_path / "m.json") is None
    assert read_manifest(tmp_path / "nowhere.json") is None
