"""Keys and presets whose writer is killed before each step on the disk: nothing that was acknowledged is lost."""

import subprocess
import sys
from pathlib import Path

STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod")
"""Audit events of the steps that change a disk. `open` is also that of reads."""
PROGRAM = f"""
import os, signal, sys
from pathlib import Path
from lmx_daemon.contract.admin.keys import KeyRequest
from lmx_daemon.contract.generation.preset import Preset
from lmx_daemon.router.preset_files import PresetFiles
from lmx_daemon.storage.keys import KeyStore

root, left = Path(sys.argv[1]), [0]

def count(event, arguments):
    if event in {STEPS} and left[0] > 0:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)

def killed_at(step, act):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        left[0] = step
        done = act()
        left[0] = 0
        os.write(write, done.encode())
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    os.close(write)
    with os.fdopen(read) as acknowledged:
        return killed, acknowledged.read()

keys = root / "keys.json"
first = KeyStore(keys).create(KeyRequest(name="first")).secret
files = PresetFiles(root / "presets")
files.add("plain", Preset(system="0"), replace=False)
files.change("plain", {{"system": "0"}})  # imports what it needs before steps are counted
for act in ("key", "preset"):
    for step in range(1, 1000):
        change = {{"system": str(step)}}
        if act == "key":
            killed, done = killed_at(step, lambda: KeyStore(keys).create(KeyRequest(name="more")).secret)
        else:
            killed, done = killed_at(step, lambda: PresetFiles(root / "presets").change("plain", change).name)
        store = KeyStore(keys)
        assert store.verify(first).name == "first", step
        if act == "key" and done:
            store.verify(done)
        row = PresetFiles(root / "presets").refresh()["plain"]
        assert row.preset is not None, (step, row.problem)
        if act == "preset" and done:
            assert row.preset.system == str(step)
        assert not list(root.rglob("*.unreadable-*")), step
        if not killed:
            break
    print(act, step)
    assert step > 3
"""


def test_killed_writer_of_keys_and_presets_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=170)
    assert ended.returncode == 0, ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["key", "preset"]
