"""The repair hint for a machine on which MLX cannot be imported. It does not import MLX."""

import platform
import sys


def repair_command() -> str:
    """Return the command that repairs a missing or broken MLX on this machine."""
    if sys.platform == "darwin":
        if platform.machine() != "arm64":
            return "MLX needs Apple Silicon; this Python is for Intel. Install an arm64 Python and lmx in it"
        return "pip install --force-reinstall mlx mlx-metal"
    return 'pip install --force-reinstall "mlx[cpu]"'
