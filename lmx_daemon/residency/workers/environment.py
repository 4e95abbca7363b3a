"""The environment that a worker process starts with.

A worker runs foreign templates, tokenizers and, if trusted, code. It gets only the variables in a list: those that
locate programs, libraries, packages and temporary files, that set the language, and that tune MLX, BLAS and the GPU.
All others, keys and tokens among them, stay with the daemon.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

NAMES = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TMPDIR",
        "TZ",
        "LANG",
        "LANGUAGE",
        "XDG_CACHE_HOME",  # caches of compiled kernels, and of trusted code
        "HF_HOME",
        "HF_MODULES_CACHE",
        "TOKENIZERS_PARALLELISM",
        "RAYON_NUM_THREADS",  # of the tokenizer
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "VIRTUAL_ENV",
    }
)
PREFIXES = (
    "LC_",
    "PYTHON",  # packages are found where the daemon finds them
    "MLX_",
    "METAL_",
    "MTL_",
    "CUDA_",
    "NVIDIA_",
    "DYLD_",
    "OPENBLAS_",
    "OMP_",
    "VECLIB_",  # Accelerate, the BLAS of macOS
)
OPENBLAS = "libopenblas.so.0"
"""File name of OpenBLAS on Linux."""
LDCONFIG_SECONDS = 2.0
"""Time for `ldconfig` to list the libraries."""


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of `environ` for a worker, with the Hub offline and, on Linux, OpenBLAS preloaded."""
    made = {name: value for name, value in environ.items() if name in NAMES or name.startswith(PREFIXES)}
    made["HF_HUB_OFFLINE"] = "1"
    made["PYTHONUNBUFFERED"] = "1"
    library = find_openblas() if sys.platform == "linux" else None
    if library is not None:
        # MLX's wheel for CPUs has the reference BLAS, which is up to forty times slower.
        made["LD_PRELOAD"] = ":".join(part for part in (library, made.get("LD_PRELOAD", "")) if part)
        # One thread is as fast as two at the sizes of a decode step, and leaves a core to the daemon.
        made.setdefault("OPENBLAS_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    return made


def find_openblas() -> str | None:
    """Return the path of the system's OpenBLAS, as the dynamic linker would find it; None without one."""
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
