"""The table [router]: which models the names of requests mean."""

from typing import Annotated, Literal

from lmx_daemon.settings.sections.section import Section, hot
from lmx_daemon.settings.values.aliases import Names, check_aliases, check_name, listed

Fallthrough = Literal["not_installed", "does_not_fit", "failing", "overloaded", "evicts"]
"""Reason why the next model of a list is tried."""


def check_names(names: Names) -> None:
    """Raise ValueError for a name that no model can have."""
    for name in listed(names):
        check_name(name)


class RouterSettings(Section, frozen=True):
    """The table [router]: which models the names of requests mean."""

    aliases: Annotated[
        dict[str, Names],
        hot(
            'Names for models: { code = ["org/big", "org/small"], "claude-*" = "code" }. The models of a list are '
            "tried in order. An entry is a model, another alias, or preset:NAME. A name with * stands for all names "
            "that match it.",
            check=check_aliases,
        ),
    ] = {}
    default: Annotated[
        Names,
        hot(
            "Models of the name `default`, tried in order. Unset, the name means the same as `auto`.",
            check=check_names,
        ),
    ] = ()
    fallthrough: Annotated[
        tuple[Fallthrough, ...],
        hot(
            "Reasons for trying the next model of a list: it is not installed, it does not fit into memory, it keeps "
            "crashing or its files are faulty (failing), its queue is full (overloaded), or its load would unload or "
            "wait for another model while a model of the list is in memory that is not smaller (evicts)."
        ),
    ] = ("not_installed", "does_not_fit", "failing", "overloaded", "evicts")
    download_missing: Annotated[
        bool,
        hot(
            "Whether a request for a repository of the Hub that is not installed starts its download. The request "
            "itself gets status 503 until the download is complete."
        ),
    ] = False
