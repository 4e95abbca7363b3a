"""Where models are on this machine: the built-in one, and the standard Hugging Face cache."""

from collections.abc import Mapping
from pathlib import Path

BUILT_IN = Path(__file__).parent / "guide"


def hub_cache(environ: Mapping[str, str]) -> Path:
    """The cache directory, found as huggingface_hub finds it."""
    if cache := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(cache).expanduser()
    return hf_home(environ) / "hub"


def hf_home(environ: Mapping[str, str]) -> Path:
    if home := environ.get("HF_HOME"):
        return Path(home).expanduser()
    return Path(environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"
