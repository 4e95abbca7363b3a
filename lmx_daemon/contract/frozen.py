"""The base of all structs of the contract."""

import msgspec


class Frozen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of every struct that crosses a process: immutable, keyword only, defaults omitted on the wire."""
