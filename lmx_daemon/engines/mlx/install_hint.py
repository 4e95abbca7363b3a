"""What to say where MLX cannot be imported. It imports nothing of MLX itself."""

import platform
import sys


def repair_command() -> str:
    """The command that mends a missing or broken MLX here."""
    if sys.platform == "darwin":
        if platform.machine() != "arm64":
            return "MLX needs Apple Silicon; this Python is for Intel. Install an arm64 Python and lmx in it"
        return "pip install --force-reinstall mlx mlx-metal"
    return 'pip install --force-reinstall "mlx[cpu]"'
