"""Recognition of a lack of memory among the exceptions of MLX."""

TEXTS = ("malloc", "Insufficient Memory")
"""Parts of the messages with which MLX reports a lack of memory: on any device, and on Metal."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory is insufficient."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in TEXTS)
