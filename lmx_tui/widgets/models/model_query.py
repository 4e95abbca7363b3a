"""The search for models: words, abilities, `fits` and sizes such as `<8gb` or `>4b`, and what matches them. Pure.

A fact that is not known never matches: a model without a memory plan is not one that fits.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import ge, gt, le, lt

from lmx_daemon.contract.admin.library.hub import Offer
from lmx_daemon.contract.models import Instance, Model, Verdict

ABILITIES = ("tools", "thinking", "vision")
FITS = "fits"
HELP = "words of the name, 4bit, fits, tools, vision, <8gb, >4b"
COMPARISONS: dict[str, Callable[[int, float], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
BYTES = {"mb": 1e6, "gb": 1e9, "g": 1e9, "tb": 1e12}
PARAMETERS = {"m": 1e6, "b": 1e9}
BOUND = re.compile(r"(<=|>=|<|>)(\d{1,6}(?:\.\d{1,3})?)(mb|gb|tb|g|m|b)")


@dataclass(frozen=True)
class Bound:
    """A limit on the bytes of a model or on the number of its parameters."""

    comparison: str
    value: float
    of_parameters: bool


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model on this machine or on the Hub."""

    text: str
    abilities: frozenset[str]
    fits: bool | None = None
    bytes: int | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class ModelQuery:
    """A parsed search."""

    words: tuple[str, ...] = ()
    abilities: frozenset[str] = field(default_factory=frozenset)
    fits: bool = False
    bounds: tuple[Bound, ...] = ()

    def matches(self, facts: ModelFacts) -> bool:
        """Return whether a model has every word and every fact of the query."""
        return (
            all(word in facts.text for word in self.words)
            and self.abilities <= facts.abilities
            and (not self.fits or facts.fits is True)
            and all(_within(bound, facts) for bound in self.bounds)
        )


def query_of(text: str) -> ModelQuery:
    """Return the query of a search text."""
    words, bounds = [], []
    typed = text.lower().split()
    for word in typed:
        found = BOUND.fullmatch(word)
        if found:
            comparison, number, unit = found.groups()
            scale = PARAMETERS.get(unit) or BYTES[unit]
            bounds.append(Bound(comparison, float(number) * scale, unit in PARAMETERS))
        elif word != FITS and word not in ABILITIES:
            words.append(word)
    return ModelQuery(tuple(words), frozenset(typed) & frozenset(ABILITIES), FITS in typed, tuple(bounds))


def facts_of_model(model: Model, instance: Instance | None, verdict: Verdict | None) -> ModelFacts:
    """Return the facts of a model on disk. A loaded model fits; for another one, its plan decides if there is one."""
    planned = None if verdict is None else verdict.outcome != "refused"
    quantization = model.quantization or ""
    text = f"{model.id} {quantization} {quantization.replace('-', '')} {model.architecture or ''}"
    return ModelFacts(
        text=text.lower(),
        abilities=frozenset(name for name in ABILITIES if getattr(model, name)),
        fits=True if instance is not None and instance.state != "failed" else planned,
        bytes=model.size or None,
        parameters=model.parameters,
    )


def facts_of_offer(offer: Offer) -> ModelFacts:
    """Return the facts of a model on the Hub."""
    return ModelFacts(
        text=offer.id.lower(),
        abilities=frozenset(name for name in ABILITIES if getattr(offer, name)),
        fits=None if offer.fit == "unknown" else offer.fit != "no",
        bytes=offer.size,
        parameters=offer.parameters,
    )


def _within(bound: Bound, facts: ModelFacts) -> bool:
    fact = facts.parameters if bound.of_parameters else facts.bytes
    return fact is not None and COMPARISONS[bound.comparison](fact, bound.value)
