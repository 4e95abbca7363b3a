"""Import rules at run time, since a static import graph does not show imports inside functions."""

import subprocess
import sys

import pytest

ENGINE = ("mlx", "mlx_lm", "transformers")
SERVER = ("litestar", "uvicorn")
FORBIDDEN = {
    "lmx_daemon.client.client": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy", "typer"),
    "lmx_daemon.client.spawn": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy"),
    "lmx_daemon.main": (*ENGINE, "textual", "huggingface_hub", "numpy", "typer"),
    "lmx_cli.main": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy", "typer", "httpx2"),
    "lmx_cli.commands.models": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy", "httpx2"),
    "lmx_cli.commands.bench": (*ENGINE, *SERVER, "textual", "huggingface_hub", "numpy", "httpx2", "psutil"),
    "lmx_tui.app": (*ENGINE, *SERVER, "huggingface_hub", "numpy"),
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_import_loads_no_forbidden_package(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {FORBIDDEN[module]!r} if name in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == ""
