"""Tests of the memory limits of the machine: both versions of control groups, the GPU, and the setting."""

from pathlib import Path

import psutil
import pytest

from lmx_daemon.contract.errors import ConfigError
from lmx_daemon.memory.host import ControlGroup, Host, Limits, limited_groups
from lmx_daemon.settings.config_file import parse_config
from lmx_daemon.settings.values.memory_limit import MemoryLimit

PHYSICAL = int(psutil.virtual_memory().total)


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)


def test_cgroups_v2_include_parents_and_exclude_file_pages(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/user.slice/session.scope\n")
    stat = "anon 100\ninactive_file 2000\nactive_file 500\n"
    group(tmp_path / "user.slice", memory_max="10000\n", memory_current="6000\n", memory_stat=stat)
    group(tmp_path / "user.slice" / "session.scope", memory_max="max\n", memory_current="5000\n")
    assert limited_groups(tmp_path, tmp_path / "membership") == [ControlGroup(10_000, 3500)]


def test_cgroups_v1_are_read(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n")
    folder = tmp_path / "memory" / "docker" / "abc"
    group(folder)
    (folder / "memory.limit_in_bytes").write_text("5000")
    (folder / "memory.usage_in_bytes").write_text("3000")
    (folder / "memory.stat").write_text("total_inactive_file 1000\ninactive_file 7\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert limited_groups(tmp_path, tmp_path / "membership") == [ControlGroup(5000, 2000)]


def test_the_limit_of_a_container_is_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "membership").write_text("0::/\n")
    group(tmp_path, memory_max="7000", memory_current="1000")
    assert limited_groups(tmp_path, tmp_path / "membership") == [ControlGroup(7000, 1000)]


@pytest.mark.parametrize("text", ["0::/../../etc\n", "garbage\n", "", "0::" + "/a" * 500])
def test_an_invalid_membership_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "membership").write_text(text)
    assert limited_groups(tmp_path, tmp_path / "membership") == []


def test_the_cap_is_nine_tenths_of_the_limit_in_force(tmp_path: Path) -> None:
    assert Host(MemoryLimit, tmp_path).limits().cap == int(PHYSICAL * 0.9)
    group(tmp_path, memory_max="1000000", memory_current="400000")
    host = Host(MemoryLimit, tmp_path)
    assert host.limits() == Limits(total=1_000_000, source="cgroup", cap=900_000, available=600_000)
    room = host.room()
    assert (room.cap, room.available) == (900_000, 600_000)


def test_the_size_of_the_gpu_replaces_that_of_the_machine(tmp_path: Path) -> None:
    host = Host(MemoryLimit, tmp_path)
    host.device_memory = 10_000_000_000
    assert (host.limits().cap, host.limits().source) == (9_000_000_000, "device")
    assert host.room().available is None


@pytest.mark.parametrize(
    ("setting", "cap"),
    [("50%", 5_000_000_000), ("4 GB", 4_000_000_000), ("1GiB", 2**30), (123, 123), ("99 GB", 10_000_000_000)],
)
def test_the_setting_is_the_cap_unless_it_exceeds_the_total(tmp_path: Path, setting: str | int, cap: int) -> None:
    host = Host(lambda: MemoryLimit(setting), tmp_path)
    host.device_memory = 10_000_000_000
    assert host.limits().cap == cap


def test_a_new_setting_is_in_force_at_once(tmp_path: Path) -> None:
    limits = [MemoryLimit("50%"), MemoryLimit("4 GB")]
    host = Host(lambda: limits[0], tmp_path)
    host.device_memory = 10_000_000_000
    assert host.limits().cap == 5_000_000_000
    del limits[0]
    assert host.limits().cap == 4_000_000_000


@pytest.mark.parametrize("setting", ["'lots'", "'-1'", "'0'", "'12 XB'", "''", "'50 %%'", "0"])
def test_an_invalid_setting_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"line 2: engine\.memory"):
        parse_config(f"[engine]\nmemory = {setting}".encode(), Path("config.toml"))
