"""The search for models: its words, its facts, and facts that are not known."""

import pytest

from lmx_daemon.contract.admin.library.hub import Offer
from lmx_daemon.contract.models import Instance, Model, Verdict
from lmx_tui.widgets.models.model_query import ModelFacts, facts_of_model, facts_of_offer, query_of
from tests.library_states import OFFERS, VERDICT

TEXT = "maker/qwen3-8b 4-bit"
KNOWN = ModelFacts(text=TEXT, abilities=frozenset({"tools"}), fits=True, bytes=8 * 10**9, parameters=4 * 10**9)
UNKNOWN = ModelFacts(text=TEXT, abilities=frozenset())


@pytest.mark.parametrize(
    ("text", "known", "unknown"),
    [
        ("", True, True),
        ("qwen3 4-bit", True, True),
        ("QWEN3 gemma", False, False),
        ("fits", True, False),
        ("tools qwen3", True, False),
        ("vision", False, False),
        ("<8gb", False, False),
        ("<=8gb", True, False),
        (">7.5g <9GB", True, False),
        (">4b", False, False),
        (">=4B", True, False),
        (">3900m", True, False),
        ("<1tb", True, False),
        ("<8", False, False),
    ],
)
def test_query_matches_known_facts_and_never_unknown_ones(text: str, known: bool, unknown: bool) -> None:
    query = query_of(text)
    assert (query.matches(KNOWN), query.matches(UNKNOWN)) == (known, unknown)


def test_model_fits_if_it_is_in_memory_or_its_plan_fits() -> None:
    model = Model(id="maker/Model", path="/m", source="hub", quantization="4-bit")
    refused = Verdict(model="maker/Model", plan=VERDICT.plan, outcome="refused", cap=1, free=0)
    ready = Instance(id="i", model="maker/Model", state="ready")
    failed = Instance(id="i", model="maker/Model", state="failed")
    assert [
        facts_of_model(model, *known).fits
        for known in ((None, None), (None, VERDICT), (None, refused), (ready, refused), (failed, None))
    ] == [None, True, False, True, None]
    assert query_of("4bit").matches(facts_of_model(model, None, None))


def test_offer_fits_as_the_daemon_has_computed() -> None:
    assert [facts_of_offer(offer).fits for offer in OFFERS] == [True, True, False]
    assert facts_of_offer(Offer(id="a/b")).fits is None
