"""A move that is killed before each of its steps on the disk: nothing is lost, and the next run ends it."""

import subprocess
import sys
from pathlib import Path

STEPS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate")
"""Audit events of the steps that change a disk."""
PROGRAM = f"""
import os, shutil, signal, sys
from pathlib import Path
from tests.library.move.moving import content, make_cache, move

root, every = Path(sys.argv[1]), int(sys.argv[2])
plain = make_cache(root / "plain")
before = content(plain)
left = [0]

def count(event, arguments):
    if event in {STEPS} and left[0] > 0:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)

def run(step, source, target, delete, hard_links):
    child = os.fork()
    if child == 0:
        left[0] = step
        move(source, target, root / "move.json", delete=delete, hard_links=hard_links)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

kills = 0
for hard_links in (False, True):
    for delete in (False, True):
        step = 1
        while True:
            source, target = root / "source", root / "target"
            shutil.copytree(plain, source, symlinks=True)
            if delete:
                move(source, target, root / "move.json", delete=False, hard_links=hard_links)
            killed = run(step, source, target, delete, hard_links)
            kills += killed
            here, there = content(source), content(target)
            for place, value in before.items():
                assert value in (here.get(place), there.get(place)), (step, delete, place)
            if not delete:
                assert here == before, step
            move(source, target, root / "move.json", delete=delete, hard_links=hard_links)
            move(source, target, root / "move.json", delete=True, hard_links=hard_links)
            assert content(target) == before and content(source) == {{}}, step
            for path in (source, target, root / "move.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not killed:
                break
            step += every
print(kills)
"""


def test_killed_move_loses_nothing_and_is_continued(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), "7"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=170)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 10
