"""The models that a name means, in the order in which they are tried. Pure: it reads no state of models.

choice.py takes the first of them that can answer now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from lmx_daemon.contract.models import GUIDE, Model
from lmx_daemon.library.catalog.model_names import ambiguous, models_named, models_with_part
from lmx_daemon.settings.values.aliases import PRESET_PREFIX, is_pattern

AUTO, DEFAULT = "auto", "default"


@dataclass(frozen=True)
class NameRules:
    """The rules that names are resolved by."""

    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default: tuple[str, ...] = ()
    """Models of the name `default`; () means those of `auto`."""
    presets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Models of each preset; () means those of `default`."""


@dataclass(frozen=True)
class Candidate:
    """Model that a name may mean."""

    name: str
    """Id of the model, or the name as it is listed if no such model is installed."""
    model: Model | None
    """None for a model that is not installed."""
    reason: str = ""
    """Rule that led to it, such as "alias code"; "" for the model's own id."""
    preset: str = ""
    """Preset that applies to the request."""


@dataclass(frozen=True)
class NameEntry:
    """A name that is being resolved to models: that of a request, or one in a list."""

    name: str
    reason: str = ""
    preset: str = ""
    asked: bool = False
    """Whether it is the name of a request. Patterns apply to such names only."""


@dataclass(frozen=True)
class Expansion:
    """The names that an alias, a pattern, a preset or `default` stands for."""

    reason: str
    names: Sequence[str]
    preset: str


def resolve(
    name: str, installed: Mapping[str, Model], rules: NameRules, loaded: Sequence[str] = ()
) -> tuple[Candidate, ...]:
    """Return the candidates of a name, best first; one that is not installed if the name is unknown.

    A name means, in this order: the model with this id; an alias; the only model whose id matches without owner and
    case; the longest pattern that matches; the only model with a word that begins with the name; `auto`, `default`.
    `loaded` are the ids of loaded models, the last used first. Raise ModelNotFoundError if several models match.
    """
    if (exact := installed.get(name)) is not None:
        return (Candidate(name, exact),)
    found: dict[str, Candidate] = {}
    seen: set[tuple[str, str]] = set()
    stack = [NameEntry(name, asked=True)]
    while stack:
        entry = stack.pop()
        if (expansion := _expansion(entry, installed, rules)) is None:
            for candidate in _candidates(entry, installed, loaded):
                found.setdefault(candidate.name, candidate)
        elif (key := (expansion.reason, expansion.preset)) not in seen:
            seen.add(key)
            reason = entry.reason or expansion.reason
            stack += [NameEntry(each, reason, expansion.preset) for each in reversed(expansion.names)]
    return tuple(found.values())


def automatic(models: Sequence[Model], loaded: Sequence[str]) -> list[Model]:
    """Return the models of `auto`: loaded ones, then those that chat, by their last use. The guide comes last."""
    usable = [model for model in models if model.problem is None and not model.embedding]
    order = {identity: place for place, identity in enumerate(loaded)}

    def rank(model: Model) -> tuple[bool, int, bool, float]:
        return model.id == GUIDE, order.get(model.id, len(order)), not model.chat, -(model.used_at or 0.0)

    return sorted(usable, key=rank)


def matching_pattern(name: str, aliases: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the longest pattern that matches a name; None if none does."""
    patterns = [alias for alias in aliases if is_pattern(alias) and fnmatchcase(name.lower(), alias.lower())]
    return max(patterns, key=len, default=None)


def _expansion(entry: NameEntry, installed: Mapping[str, Model], rules: NameRules) -> Expansion | None:
    """Return what an entry stands for; None if it stands for models."""
    name = entry.name
    if name in installed:
        return None
    if name in rules.aliases and not is_pattern(name):
        return Expansion(f"alias {name}", rules.aliases[name], entry.preset)
    if name.startswith(PRESET_PREFIX) and (preset := name.removeprefix(PRESET_PREFIX)) in rules.presets:
        return Expansion(f"preset {preset}", rules.presets[preset] or (DEFAULT,), entry.preset or preset)
    if name == DEFAULT and rules.default:
        return Expansion(DEFAULT, rules.default, entry.preset)
    pattern = matching_pattern(name, rules.aliases) if entry.asked else None
    if pattern is not None and not models_named(name, installed.values()):
        return Expansion(f"pattern {pattern}", rules.aliases[pattern], entry.preset)
    return None


def _candidates(entry: NameEntry, installed: Mapping[str, Model], loaded: Sequence[str]) -> list[Candidate]:
    """Return the candidates of an entry that stands for models. Raise ModelNotFoundError for an ambiguous request."""
    name, models = entry.name, list(installed.values())
    if name in installed:
        found, reason = [installed[name]], ""
    elif close := models_named(name, models):
        found, reason = close, "name without owner or case"
    elif name in (AUTO, DEFAULT):
        return [Candidate(each.id, each, entry.reason or name, entry.preset) for each in automatic(models, loaded)]
    else:
        found, reason = models_with_part(name, models), "part of the name"
    if len(found) > 1 and entry.asked:
        raise ambiguous(name, found)
    if len(found) != 1:
        return [Candidate(name, None, entry.reason, entry.preset)]
    return [Candidate(found[0].id, found[0], entry.reason or reason, entry.preset)]
