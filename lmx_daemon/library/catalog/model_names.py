"""The model that a name means, and the errors of names that mean none or several. Pure."""

import difflib
import re
from collections.abc import Iterable, Sequence

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.models import Model

NEAREST = 5
"""Number of similar names that the error of an unknown model lists."""
SIMILAR = 0.5
"""Ratio of difflib from which a name counts as similar."""
MAX_COMPARED = 500
"""Number of ids that are compared with an unknown name."""
SHORTEST_PART = 3
"""Number of characters from which a part of a name is enough."""
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def matching_model(name: str, models: Sequence[Model]) -> Model:
    """Return the model with this id, else the only one whose id matches without owner and case.

    Raises ModelNotFoundError.
    """
    close = [model for model in models if model.id == name] or models_named(name, models)
    if len(close) == 1:
        return close[0]
    raise ambiguous(name, close) if close else not_found(name, [model.id for model in models])


def not_found(name: str, known: Sequence[str]) -> ModelNotFoundError:
    """Return the error for an unknown name. It lists only similar names, since there may be hundreds of models."""
    nearest = nearest_names(name, known)
    listed = f"; similar names: {', '.join(nearest)}" if nearest else ""
    return ModelNotFoundError(
        f"there is no model {name[:200]!r} here{listed}",
        param="model",
        hint=f"download it with: lmx pull {name}"
        if REPOSITORY.fullmatch(name)
        else "`lmx ls` lists the installed models",
    )


def ambiguous(name: str, close: Iterable[Model]) -> ModelNotFoundError:
    """Return the error for a name without an owner, or for a part of a name, that matches several models."""
    found = sorted(model.id for model in close)
    listed = ", ".join(found[:NEAREST]) + (", ..." if len(found) > NEAREST else "")
    return ModelNotFoundError(
        f"several models match {name[:200]!r}: {listed}", param="model", hint="write more of the id"
    )


def nearest_names(name: str, known: Sequence[str]) -> list[str]:
    """Return at most NEAREST similar ids, the most similar first. Owners are compared if `name` has one."""
    whole = "/" in name
    texts = {text if whole else text.rpartition("/")[2]: id for id in known[:MAX_COMPARED] if (text := id.lower())}
    return [texts[text] for text in difflib.get_close_matches(name.lower()[:100], texts, NEAREST, SIMILAR)]


def models_named(name: str, models: Iterable[Model]) -> list[Model]:
    """Return the models whose id matches without case, with or without its owner."""
    wanted = name.lower()
    return [model for model in models if wanted in (model.id.lower(), _own_name(model))]


def models_with_part(name: str, models: Iterable[Model]) -> list[Model]:
    """Return the models with a word that begins with `name`, as "qwen3" in "org/Qwen3-8B-4bit".

    A name with an owner is that of one repository, and never a part of another one.
    """
    wanted = name.lower()
    if len(wanted) < SHORTEST_PART or not wanted[0].isalnum() or "/" in wanted:
        return []
    part = re.compile(rf"(?<![a-z0-9]){re.escape(wanted)}")
    return [model for model in models if part.search(_own_name(model))]


def _own_name(model: Model) -> str:
    return model.id.lower().rpartition("/")[2]
