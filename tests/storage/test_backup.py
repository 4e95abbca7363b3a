"""Tests of the exclusion from backups and search indexes, with the answers of macOS faked."""

import plistlib
from pathlib import Path

from lmx_daemon.storage.backup import EXCLUDED, NEVER_INDEX, exclude


def test_macos_gets_the_attribute_and_the_marker_file(tmp_path: Path) -> None:
    attributes: list[tuple[Path, str, bytes]] = []
    exclude(tmp_path / "cache", lambda *given: attributes.append(given), "darwin")
    ((path, name, value),) = attributes
    assert (path, name) == (tmp_path / "cache", EXCLUDED) and plistlib.loads(value) == "com.apple.backupd"
    assert (tmp_path / "cache" / NEVER_INDEX).read_bytes() == b""
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_a_disk_without_extended_attributes_is_accepted(tmp_path: Path) -> None:
    def refuse(path: Path, name: str, value: bytes) -> None:
        raise OSError(45, "Operation not supported")

    exclude(tmp_path / "cache", refuse, "darwin")
    assert (tmp_path / "cache" / NEVER_INDEX).exists()


def test_other_systems_get_the_folder_only(tmp_path: Path) -> None:
    exclude(tmp_path / "cache", system="linux")
    assert list((tmp_path / "cache").iterdir()) == []
