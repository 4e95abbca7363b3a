"""Files of a model that are code or can run code, and the switches in its configs that name code.

No other module decides what counts as code. Nothing here runs or trusts it.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lmx_daemon.storage.foreign.reading import open_model_file, read_object

CODE_KEYS = ("auto_map", "model_file", "trust_remote_code")
"""Keys of a config that make a loader run code of the model."""
CODE_CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json")
"""Configs in which loaders look for these keys."""
CODE_SUFFIXES = (".py", ".so", ".dylib", ".pyc")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
"""Files that can run code when a loader opens them."""
MAX_NAMES = 50
READ_BYTES = 1 << 20


def is_code(name: str) -> bool:
    """Return whether a file of this name is code or a pickle."""
    return name.endswith((*CODE_SUFFIXES, *PICKLE_SUFFIXES))


def code_keys(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of a config that name code."""
    return [key for key in CODE_KEYS if config.get(key)]


def code_in(folder: Path, names: Collection[str]) -> tuple[str, ...]:
    """Return the files and config keys in a model's folder that could run code. `names` are its files."""
    found = sorted(filter(is_code, names))
    for name in CODE_CONFIGS:
        if name in names:
            found += [f"{key} in {name}" for key in code_keys(read_object(folder / name) or {})]
    return tuple(found[:MAX_NAMES])


def fingerprint(folder: Path) -> str:
    """Return a SHA-256 over every file in a model's folder that is code or may name code; "" if one is unreadable."""
    digest = hashlib.sha256()
    try:
        names = sorted(file.name for file in folder.iterdir() if is_code(file.name) or file.name in CODE_CONFIGS)
        for name in names:
            content = hashlib.sha256()
            with open_model_file(folder / name) as source:
                while chunk := source.read(READ_BYTES):
                    content.update(chunk)
            digest.update(os.fsencode(name) + f"\0{content.hexdigest()}\n".encode())
    except OSError:
        return ""
    return digest.hexdigest()
