"""Small model folders and cache repositories for tests, made without MLX."""

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save_file

from lmx_daemon.library.catalog.fit import MachineCapacity
from lmx_daemon.library.library import Library
from lmx_daemon.memory.need import Device
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import LibrarySettings

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 2048,
}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}<tool_call>{{ tool_call.name }}{% endif %}"


GIGABYTE = 10**9


def library_of(
    tmp_path: Path, environ: dict[str, str] | None = None, *, cap: int = 16 * GIGABYTE, in_use: Collection[str] = ()
) -> Library:
    """Return a library with a home of its own, which watches `tmp_path/mine`; its first scan is done."""
    environ = environ or {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    settings = LibrarySettings(reserve_bytes=0, folders=(str(tmp_path / "mine"),), lmstudio=False)
    machine = MachineCapacity(cap, Device(cpu=False), lambda needed: "yes" if needed <= cap else "no")
    library = Library(Home(tmp_path / "home"), lambda: settings, environ, lambda: machine, lambda: in_use)
    library.registry.catalog.refresh()
    return library


def make_folder(folder: Path, *, weights: str = "model.safetensors", side: int = 64, **config: Any) -> Path:
    """Make a model's files in a plain folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- mlx\n---\n# a model\n")
    values = numpy.random.default_rng(side).random((side, side), dtype=numpy.float32)
    save_file({"weight": values}, folder / weights)
    return folder


def make_cached(cache: Path, repo: str, commit: str = "1" * 40, *, main: bool = True, **changes: Any) -> Path:
    """Make a model in the Hugging Face cache, with the layout of huggingface_hub, and return the snapshot's folder."""
    repository = cache / f"models--{repo.replace('/', '--')}"
    plain = make_folder(cache / ".making", **changes)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for file in sorted(plain.iterdir()):
        content = file.read_bytes()
        large = file.suffix == ".safetensors"
        name = hashlib.sha256(content).hexdigest() if large else git_sha1(content)
        os.replace(file, repository / "blobs" / name)
        (snapshot / file.name).symlink_to(f"../../blobs/{name}")
    plain.rmdir()
    if main:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
    return snapshot


def git_sha1(content: bytes) -> str:
    """Return git's SHA-1 of a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def flip(file: Path) -> None:
    """Change one byte in the middle of a file, in place."""
    path = Path(os.path.realpath(file))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
