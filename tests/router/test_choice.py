"""Tests of the choice among candidates."""

import pytest

from lmx_daemon.contract.models import Model
from lmx_daemon.residency.decisions.outlook import Outlook
from lmx_daemon.router.choice import ChosenModel, choose
from lmx_daemon.router.resolve import Candidate
from lmx_daemon.settings.schema import RouterSettings

ALL = RouterSettings().fallthrough
BIG, SMALL = 30, 1


def candidate(name: str, installed: bool = True) -> Candidate:
    return Candidate(name, Model(id=name, path="", source="hub") if installed else None, "alias code")


def chosen(outlooks: dict[str, Outlook | None], fallthrough: tuple[str, ...] = ALL) -> ChosenModel:
    """Return the choice among models in the order of `outlooks`; None stands for one that is not installed."""
    found = {name: outlook for name, outlook in outlooks.items() if outlook is not None}
    return choose([candidate(name, name in found) for name in outlooks], found, fallthrough)  # type: ignore[arg-type]


def test_first_model_that_can_answer_is_chosen() -> None:
    assert chosen({"big": Outlook(), "small": Outlook(resident=True)}).candidate.name == "big"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (None, "not_installed"),
        (Outlook(placing="refused"), "does_not_fit"),
        (Outlook(failing=True), "failing"),
        (Outlook(resident=True, overloaded=True), "overloaded"),
    ],
)
def test_each_reason_leads_to_the_next_model_and_is_reported(first: Outlook | None, reason: str) -> None:
    choice = chosen({"first": first, "second": Outlook()})
    assert (choice.candidate.name, choice.skipped) == ("second", (("first", reason),))
    assert choice.reason == f"alias code; skipped first: {reason}"
    others = tuple(each for each in ALL if each != reason)
    assert chosen({"first": first, "second": Outlook()}, others).candidate.name == "first", "the rule is switched off"


def test_model_in_memory_answers_instead_of_a_smaller_one_that_would_take_its_place() -> None:
    small = Outlook(size=SMALL, placing="evicts")
    choice = chosen({"small": small, "big": Outlook(resident=True, size=BIG)})
    assert (choice.candidate.name, choice.skipped) == ("big", (("small", "evicts"),))
    assert chosen({"small": small, "big": Outlook(size=BIG)}).candidate.name == "small", "the other is not in memory"
    full = Outlook(resident=True, size=BIG, overloaded=True)
    assert chosen({"small": small, "big": full}).candidate.name == "small", "the other has no place"


def test_smaller_model_in_memory_does_not_keep_a_larger_one_out() -> None:
    choice = chosen({"big": Outlook(size=BIG, placing="evicts"), "small": Outlook(resident=True, size=SMALL)})
    assert choice.candidate.name == "big"


def test_model_that_fits_beside_the_others_is_loaded() -> None:
    assert chosen({"small": Outlook(size=SMALL), "big": Outlook(resident=True, size=BIG)}).candidate.name == "small"


def test_if_all_are_skipped_the_answer_is_the_error_that_is_over_soonest() -> None:
    busy, crashing = Outlook(resident=True, overloaded=True), Outlook(failing=True)
    choice = chosen({"missing": None, "crashing": crashing, "busy": busy, "large": Outlook(placing="refused")})
    assert choice.candidate.name == "busy"
    assert dict(choice.skipped) == {"missing": "not_installed", "crashing": "failing", "large": "does_not_fit"}
    assert chosen({"missing": None, "crashing": crashing}).candidate.name == "crashing"
    assert chosen({"missing": None, "other": None}).candidate.name == "missing"
