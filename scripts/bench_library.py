"""Benchmark of the library: `lmx ls` with many models, and `lmx verify` of 4 GiB compared with plain hashing.

python scripts/bench_library.py [--models 200] [--folder FOLDER_ON_THE_MEASURED_DISK]
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy
from safetensors.numpy import save_file

from tests.end_to_end.running import Daemon
from tests.library.repositories import make_folder

RUNS = 5
LAYERS = 36
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")
SHARDS, SHARD_BYTES = 4, 1024**3
"""Number and size of the files to verify, large enough that the start of `lmx` (a third of a second) is negligible."""


def fill(cache: Path, count: int) -> None:
    """Create `count` models whose headers and tokenizers are as large as those of real models."""
    base = make_folder(cache / ".base")
    kinds = {"weight": numpy.uint32, "scales": numpy.float16, "biases": numpy.float16}
    names = [f"model.layers.{layer}.{part}" for layer in range(LAYERS) for part in PARTS]
    tensors = {f"{name}.{kind}": numpy.zeros((2, 2), dtype) for name in names for kind, dtype in kinds.items()}
    save_file(tensors, base / "model.safetensors")
    added = {str(number): {"content": "<x>", "special": True} for number in range(300)}
    (base / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": "x" * 8000, "added_tokens_decoder": added})
    )
    for number in range(count):
        repository, commit = cache / f"models--maker--m{number}", f"{number:040x}"
        shutil.copytree(base, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    shutil.rmtree(base)


def listing(daemon: Daemon, name: str) -> None:
    daemon.start()
    seconds, spent = [], []
    for _ in range(RUNS + 1):
        begun, before = time.perf_counter(), os.times()
        daemon.lmx("ls")
        after = os.times()
        seconds.append(time.perf_counter() - begun)
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    median, cpu = statistics.median(seconds[1:]), statistics.median(spent[1:])
    print(f"lmx ls, {name}: first {seconds[0]:.2f} s, then median {median:.2f} s ({cpu:.2f} s of CPU time)")
    assert daemon.process is not None
    daemon.process.terminate()
    daemon.process.wait()


def verifying(daemon: Daemon, folder: Path) -> None:
    model = make_folder(folder / "large")
    shards = [model / f"model-{number}.safetensors" for number in range(SHARDS)]
    (model / "model.safetensors").unlink()
    save_file({"weight": numpy.frombuffer(os.urandom(SHARD_BYTES), dtype=numpy.float32)}, shards[0])
    for shard in shards[1:]:
        shutil.copyfile(shards[0], shard)
    cores, size = os.cpu_count() or 1, SHARDS * SHARD_BYTES / 1e9
    timed(lambda: list(map(plain_hash, shards)))  # fills the page cache
    with ThreadPoolExecutor(cores) as threads:
        print(f"plain sha256, 1 thread: {size / timed(lambda: list(map(plain_hash, shards))):.2f} GB/s")
        print(f"plain sha256, {cores} threads: {size / timed(lambda: list(threads.map(plain_hash, shards))):.2f} GB/s")
    recorded = daemon.lmx("verify", "local/large", timeout=600)
    assert "recorded" in recorded.stdout, recorded.stderr
    print(f"lmx verify: {size / timed(lambda: daemon.lmx('verify', 'local/large', timeout=600)):.2f} GB/s")


def plain_hash(file: Path) -> None:
    with file.open("rb") as source:
        hashlib.file_digest(source, "sha256")


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        root = Path(place)
        fill(root / "cache", options.models)
        daemon = Daemon(
            environment={"HF_HUB_CACHE": str(root / "cache"), "HOME": place},
            config=f'[library]\nfolders = ["{root}/mine"]\n',
        )
        listing(daemon, f"{options.models} models, first scan")
        listing(daemon, f"{options.models} models, after a restart")
        daemon.start()
        verifying(daemon, root / "mine")
        daemon.stop()


if __name__ == "__main__":
    main()
