"""The fingerprint of a model: blocks of keys and values are valid only for these weights and this code."""

import hashlib
import importlib.metadata
from pathlib import Path

VERSION = "1"
SAMPLES = 64
SAMPLE_BYTES = 4096
IDENTITY_FILES = (
    "config.json",
    "adapter_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
)


def fingerprint(path: Path, dtype: str, template: object) -> str:
    """Return 32 hexadecimal digits. They cover the hash of a file in the Hub's cache, or size, time and samples."""
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        for part in parts:
            text = part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass")
            digest.update(len(text).to_bytes(8, "big") + text)

    add(VERSION, importlib.metadata.version("mlx-lm"), dtype, template)
    for name in IDENTITY_FILES:
        if (path / name).is_file():
            add(name, (path / name).read_bytes())
    for file in sorted(path.glob("*.safetensors")):
        blob = file.resolve()
        about = blob.stat()
        add(file.name, about.st_size)
        if blob.parent.name == "blobs" and len(blob.name) == 64:
            add(blob.name)
            continue
        add(about.st_mtime_ns)
        with open(blob, "rb") as opened:
            for index in range(SAMPLES):
                opened.seek(about.st_size * index // SAMPLES)
                add(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()[:32]
