"""How long `lmx ls` takes with 200 models, and how fast a model is verified beside the bare hash. `--models N`."""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
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
SHARDS, SHARD_BYTES = 4, 256 * 1024 * 1024


def fill(cache: Path, count: int) -> None:
    """Models whose headers and tokenizers are as long as those of real ones."""
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
    usual, own = statistics.median(seconds[1:]), statistics.median(spent[1:])
    print(f"lmx ls, {name}: first {seconds[0]:.2f} s, then median {usual:.2f} s ({own:.2f} s of a core)")
    assert daemon.process is not None
    daemon.process.terminate()
    daemon.process.wait()


def verifying(daemon: Daemon, folder: Path) -> None:
    model = make_folder(folder / "large")
    content = numpy.frombuffer(os.urandom(SHARD_BYTES), dtype=numpy.float32)
    (model / "model.safetensors").unlink()
    for shard in range(SHARDS):
        save_file({"weight": content}, model / f"model-{shard}.safetensors")
    begun = time.perf_counter()
    for shard in range(SHARDS):
        with (model / f"model-{shard}.safetensors").open("rb") as source:
            hashlib.file_digest(source, "sha256")
    bare = time.perf_counter() - begun
    daemon.lmx("verify", "local/large")
    begun = time.perf_counter()
    daemon.lmx("verify", "local/large")
    ours = time.perf_counter() - begun
    size = SHARDS * SHARD_BYTES / 1e9
    print(f"lmx verify: {size / ours:.2f} GB/s on {os.cpu_count()} cores; one bare sha256: {size / bare:.2f} GB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        fill(root / "cache", options.models)
        daemon = Daemon(
            environment={"HF_HUB_CACHE": str(root / "cache"), "HOME": place},
            config=f'[library]\nfolders = ["{root}/mine"]\n',
        )
        listing(daemon, f"{options.models} models never seen")
        listing(daemon, f"{options.models} models, after a restart")
        daemon.start()
        verifying(daemon, root / "mine")
        daemon.stop()


if __name__ == "__main__":
    main()
