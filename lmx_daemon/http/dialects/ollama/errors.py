"""Ollama's error object."""

from lmx_daemon.contract.errors import LmxError


def ollama_error(error: LmxError) -> dict[str, str]:
    """Return the error object; the hint is a part of the text, since clients show nothing else."""
    return {"error": f"{error.message} ({error.hint})" if error.hint else error.message}
