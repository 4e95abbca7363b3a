"""The parsed setting for the memory that lmx may use."""

import re

UNITS = {"": 1, "%": 0, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class MemoryLimit:
    """Amount of memory as written in config.toml: "auto", "75%", "24 GB", "16GiB" or a number of bytes."""

    def __init__(self, text: str | int = "auto") -> None:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z%]*)", str(text).strip().lower())
        if text != "auto" and (match is None or match[2] not in UNITS):
            raise ValueError(f'{text!r} is not an amount of memory; write "auto", "75%", "24 GB" or a number of bytes')
        self.given = match is not None
        amount, unit = (float(match[1]), match[2]) if match is not None else (0.0, "")
        self._share = amount / 100 if unit == "%" else None
        self._bytes = int(amount * UNITS[unit])
        if self.given and not amount:
            raise ValueError("the amount of memory must be above 0 bytes")

    def of(self, total: int) -> int:
        """Return the amount in bytes on a machine with `total` bytes."""
        return self._bytes if self._share is None else int(total * self._share)
