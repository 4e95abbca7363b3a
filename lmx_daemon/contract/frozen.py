"""The base of what is said: structs that cannot change, on the wire as they are in memory."""

import msgspec


class Frozen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of every struct that crosses a process: immutable, keyword only, defaults left out on the wire."""
