"""The choice of one model among the candidates of a name. Pure.

A candidate is skipped for a reason of the setting `fallthrough`. The reason "evicts" keeps lists that share models from
unloading them in turn: a model that is in memory answers instead of a smaller one that would take its place.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lmx_daemon.residency.decisions.outlook import Outlook
from lmx_daemon.router.resolve import Candidate
from lmx_daemon.settings.sections.router import Fallthrough

PASSING: Sequence[Fallthrough] = ("overloaded", "evicts", "does_not_fit", "failing")
"""Reasons to skip a model, the shortest-lived first. If all models are skipped, the earliest reason here decides."""


@dataclass(frozen=True)
class ChosenModel:
    """The chosen candidate, and the candidates before it with the reason why each was skipped."""

    candidate: Candidate
    skipped: tuple[tuple[str, Fallthrough], ...] = ()

    @property
    def reason(self) -> str:
        """The rule that led to the model, and what was skipped, in one line; "" for the model's own id."""
        skipped = ", ".join(f"{name}: {reason}" for name, reason in self.skipped)
        return "; skipped ".join(part for part in (self.candidate.reason, skipped) if part)


def choose(
    candidates: Sequence[Candidate], outlooks: Mapping[str, Outlook], fallthrough: Collection[Fallthrough]
) -> ChosenModel:
    """Return the first candidate that is not skipped.

    If all are skipped, return the one whose reason passes soonest; its error becomes the answer. A candidate that is
    not installed is returned only if no candidate is installed.
    """
    skipped: list[tuple[str, Fallthrough]] = []
    reasons: dict[str, Fallthrough] = {}
    for candidate in candidates:
        reason = obstacle(candidate, candidates, outlooks)
        if reason is None or reason not in fallthrough:
            return ChosenModel(candidate, tuple(skipped))
        reasons[candidate.name] = reason
        skipped.append((candidate.name, reason))
    installed = [candidate for candidate in candidates if candidate.model is not None]
    last = min(installed, key=lambda each: PASSING.index(reasons[each.name]), default=candidates[0])
    return ChosenModel(last, tuple(each for each in skipped if each[0] != last.name))


def obstacle(
    candidate: Candidate, candidates: Sequence[Candidate], outlooks: Mapping[str, Outlook]
) -> Fallthrough | None:
    """Return why a candidate should be skipped; None if it can answer."""
    outlook = outlooks.get(candidate.name)
    if outlook is None:
        return "not_installed"
    if outlook.failing:
        return "failing"
    if outlook.overloaded:
        return "overloaded"
    if outlook.placing == "refused":
        return "does_not_fit"
    if outlook.placing == "evicts" and any(
        other.resident and not other.overloaded and other.size >= outlook.size
        for other in (outlooks[each.name] for each in candidates if each.name in outlooks)
    ):
        return "evicts"
    return None
