"""Excluding a folder from backups and search indexes, with macOS's answers faked."""

import plistlib
from pathlib import Path

from lmx_daemon.storage.backup import EXCLUDED, NEVER_INDEX, exclude


def test_on_a_mac_the_folder_gets_the_attribute_and_the_file(tmp_path: Path) -> None:
    attributes: list[tuple[Path, str, bytes]] = []
    exclude(tmp_path / "cache", lambda *given: attributes.append(given), "darwin")
    ((path, name, value),) = attributes
    assert (path, name) == (tmp_path / "cache", EXCLUDED) and plistlib.loads(value) == "com.apple.backupd"
    assert (tmp_path / "cache" / NEVER_INDEX).read_bytes() == b""
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_a_disk_without_attributes_is_no_error(tmp_path: Path) -> None:
    def refuse(path: Path, name: str, value: bytes) -> None:
        raise OSError(45, "Operation not supported")

    exclude(tmp_path / "cache", refuse, "darwin")
    assert (tmp_path / "cache" / NEVER_INDEX).exists()


def test_elsewhere_only_the_folder_is_made(tmp_path: Path) -> None:
    exclude(tmp_path / "cache", system="linux")
    assert list((tmp_path / "cache").iterdir()) == []
