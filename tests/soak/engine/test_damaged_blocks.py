"""Damaged files of the prefix cache: the prefix is computed again, the answer is right and the worker continues."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from lmx_daemon.engines.mlx.prefix.block_files import MAGIC, SUFFIX
from lmx_daemon.engines.mlx.prefix.block_keys import BLOCK, chain, encode, root_key
from tests.end_to_end.running import Daemon, alive, wait_until
from tests.soak.conftest import TALKER

pytestmark = pytest.mark.slow
PROMPTS = 25
BLOCKS = 4
"""Number of whole blocks of each prompt; a tail follows them."""
LENGTH = BLOCKS * BLOCK + 40
Damage = Callable[[Path, random.Random], None]


def change_a_byte(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(1, path.stat().st_size))


def make_empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def lengthen(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 5000)))


def fill_with_garbage(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))


def swap_with_another(path: Path, rng: random.Random) -> None:
    """Replace the block by another prompt's block of the same position."""
    place = path.name.split("-", 2)[2]
    others = {found.name: found.read_bytes() for found in path.parent.glob(f"*-{place}") if found != path}
    own = path.read_bytes()  # another block may already have been replaced by this one
    path.write_bytes(rng.choice([data for _, data in sorted(others.items()) if data != own]))


def rename(path: Path, rng: random.Random) -> None:
    """Rename the block to a key that belongs to no prompt."""
    path.rename(path.with_name(rng.randbytes(16).hex() + path.name[32:]))


def change_the_version(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(MAGIC[:-1] + bytes([MAGIC[-1] + rng.randrange(1, 200)]) + data[len(MAGIC) :])


def stretch(path: Path, rng: random.Random) -> None:
    """Extend the file to 100 MB, of which the file system stores a few kilobytes."""
    os.truncate(path, 100 * 1000**2)


def make_sparse(path: Path, rng: random.Random) -> None:
    """Extend the file to 50 GB, of which the file system stores a few kilobytes."""
    os.truncate(path, 50 * 1000**3)


def replace_by_a_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").write_text("x")


def replace_by_a_pipe(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_a_link(path: Path, rng: random.Random) -> None:
    """Replace the block by a link to itself or to an endless device."""
    path.unlink()
    path.symlink_to(rng.choice([path, Path("/dev/zero")]))


DAMAGES: list[Damage] = [
    change_a_byte,
    cut,
    make_empty,
    lengthen,
    fill_with_garbage,
    swap_with_another,
    rename,
    change_the_version,
    stretch,
    make_sparse,
    replace_by_a_folder,
    replace_by_a_pipe,
    replace_by_a_link,
]


class StoredPrompts:
    """Daemon whose worker has written the blocks of the prompts to disk, and the computed answers."""

    def __init__(self, daemon: Daemon, spare: Path) -> None:
        rng = random.Random(7)
        self.daemon, self._spare = daemon, spare
        self.prompts = [[rng.randrange(3, 400) for _ in range(LENGTH)] for _ in range(PROMPTS)]
        computed = [self.ask(prompt) for prompt in self.prompts]
        assert [cached for _, cached in computed] == [0] * PROMPTS
        self.answers = [answer for answer, _ in computed]
        assert len(set(self.answers)) > PROMPTS // 2, "the answers depend on the prompts"
        self.unload()
        (self.folder,) = (daemon.home / "cache" / "prefix").iterdir()
        shutil.copytree(self.folder, spare)

    def ask(self, prompt: list[int]) -> tuple[str, int]:
        """Return the greedy answer, and the number of cached tokens of the prompt."""
        body = {"model": TALKER, "prompt": prompt, "max_tokens": 16, "temperature": 0}
        answer = httpx2.post(f"{self.daemon.address}/v1/completions", json=body, timeout=20)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body["choices"][0]["text"], body["usage"]["prompt_tokens_details"]["cached_tokens"]

    def unload(self) -> None:
        """Unload the model. Its worker writes the queued blocks before it ends."""
        workers = self.daemon.worker_pids()
        self.daemon.admin("POST", "/admin/models/unload", {"id": TALKER})
        wait_until(lambda: not any(map(alive, workers)), 20, "the worker is gone")

    def renew(self) -> None:
        """Restore the blocks as they were written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self._spare, self.folder)

    def file(self, prompt: int, block: int) -> Path:
        """Return the file of one whole block of a prompt."""
        tokens, key = self.prompts[prompt], root_key(self.folder.name, "")
        for first in range(0, (block + 1) * BLOCK, BLOCK):
            key = chain(key, encode(tokens[first : first + BLOCK]))
        (found,) = self.folder.glob(f"{key.hex()}-*{SUFFIX}")
        return found


@pytest.fixture(scope="module")
def stored(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredPrompts]:
    config = "[engine]\nwarm_spare = true\n"
    daemon = Daemon(environment={"HF_HUB_CACHE": str(cache)}, config=config).start()
    yield StoredPrompts(daemon, tmp_path_factory.mktemp("blocks") / "spare")
    assert daemon.stop() == 0


@pytest.fixture
def kept(stored: StoredPrompts) -> Iterator[StoredPrompts]:
    stored.renew()
    yield stored
    stored.unload()


def test_undamaged_blocks_hold_the_whole_prompt(kept: StoredPrompts) -> None:
    for prompt, answer in zip(kept.prompts, kept.answers, strict=True):
        again, cached = kept.ask(prompt)
        assert again == answer and cached >= BLOCKS * BLOCK


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_block_is_never_used(kept: StoredPrompts, damage: Damage) -> None:
    """Damage one block of each prompt; 13 kinds make 325 cases."""
    rng = random.Random(damage.__name__)
    places = [rng.randrange(BLOCKS) for _ in range(PROMPTS)]
    for prompt, block in enumerate(places):
        damage(kept.file(prompt, block), rng)
    found = [kept.ask(prompt) for prompt in kept.prompts]
    assert [answer for answer, _ in found] == kept.answers
    before = [block * BLOCK for block in places]
    if damage is make_sparse:  # the files exceed the bound on all blocks, and the oldest are deleted meanwhile
        assert all(cached <= tokens for (_, cached), tokens in zip(found, before, strict=True))
    else:
        # On a busy machine a read can take longer than ANSWER_SECONDS, and its prompt is computed as a whole.
        assert all(cached in (tokens, 0) for (_, cached), tokens in zip(found, before, strict=True))
        assert sum(cached == tokens for (_, cached), tokens in zip(found, before, strict=True)) > PROMPTS // 2
    (worker,) = kept.daemon.worker_pids()
    assert psutil.Process(worker).memory_info().rss < 1e9
    assert kept.daemon.admin("GET", "/admin/status").get("incidents", []) == []
