"""The environment that a worker process starts with."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SECRETS = ("LMX_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
"""A worker runs foreign templates and weights; what it does not hold it cannot lose."""
OPENBLAS = "libopenblas.so.0"
LDCONFIG_SECONDS = 2.0


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without secrets, offline, and on Linux with OpenBLAS preloaded where the system has it."""
    made = {name: value for name, value in environ.items() if name not in SECRETS}
    made["HF_HUB_OFFLINE"] = "1"
    made["PYTHONUNBUFFERED"] = "1"
    library = find_openblas() if sys.platform == "linux" else None
    if library is not None:
        # mlx's own wheel for CPUs brings the reference BLAS, up to forty times slower.
        made["LD_PRELOAD"] = ":".join(part for part in (library, made.get("LD_PRELOAD", "")) if part)
        # One thread is as quick as two at the sizes of a decode step, and leaves a core to the daemon.
        made.setdefault("OPENBLAS_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    return made


def find_openblas() -> str | None:
    """The system's OpenBLAS, as the dynamic linker would find it."""
    for linker in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            listing = subprocess.run([linker, "-p"], capture_output=True, text=True, timeout=LDCONFIG_SECONDS).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        for line in listing.splitlines():
            if line.strip().startswith(OPENBLAS):
                path = line.rpartition("=> ")[2].strip()
                if Path(path).exists():
                    return path
        return None
    return None
