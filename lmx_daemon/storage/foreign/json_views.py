"""Views of large JSON files: the parts that lmx needs. Also a program that reduces JSON from stdin to stdout.

It imports the standard library only, so that the program starts in 20 ms. Its input is not trusted.
"""

import contextlib
import json
import resource
import sys
from collections.abc import Callable
from typing import Any

MEMORY_BYTES = 1024**3
CPU_SECONDS = 20
MAX_TENSORS = 200_000
MAX_NAMES = 10_000
MAX_VALUE_CHARACTERS = 1024 * 1024
"""Size above which a member of an object is left out: a vocabulary is larger, a chat template is not."""
METADATA = "__metadata__"


def whole(value: Any) -> dict[str, Any] | None:
    """Return an object without its very large members."""
    if not isinstance(value, dict):
        return None
    return {name: held for name, held in value.items() if len(json.dumps(held)) <= MAX_VALUE_CHARACTERS}


def names(value: Any) -> dict[str, Any] | None:
    """Return the weight map of an index as the distinct names of its files: {"weight_map": {name: name}}."""
    weights = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(weights, dict):
        return None
    found = sorted({name for name in weights.values() if isinstance(name, str)})
    return {"weight_map": {name: name for name in found}} if len(found) <= MAX_NAMES else None


def tensors(value: Any) -> dict[str, Any] | None:
    """Return a safetensors header with the types, shapes and offsets of its tensors only."""
    if not isinstance(value, dict) or len(value) > MAX_TENSORS:
        return None
    kept = {}
    for name, entry in value.items():
        if name != METADATA:
            if not isinstance(entry, dict):
                return None
            kept[name] = {key: entry.get(key) for key in ("dtype", "shape", "data_offsets")}
    return kept


VIEWS: dict[str, Callable[[Any], dict[str, Any] | None]] = {"whole": whole, "names": names, "tensors": tensors}


def main() -> None:
    """Write the view named by the first argument, or null. The second argument is the number of bytes to read."""
    with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS; there the parent process checks
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        found = VIEWS[sys.argv[1]](json.loads(sys.stdin.buffer.read(int(sys.argv[2]))))
    except (ValueError, RecursionError, MemoryError):
        found = None
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
