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
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def matching_model(name: str, models: Sequence[Model]) -> Model:
    """Return the model with this id, else the only one whose id matches without owner and case.

    Raises ModelNotFoundError.
    """
    close = [model for model in models if model.id == name] or _close(models, name)
    if len(close) == 1:
        return close[0]
    raise ambiguous(name, close) if close else not_found(name, models)


def not_found(name: str, models: Iterable[Model]) -> ModelNotFoundError:
    """Return the error for an unknown name. It lists only similar names, since there may be hundreds of models."""
    nearest = nearest_names(name, [model.id for model in models])
    listed = f"; similar names: {', '.join(nearest)}" if nearest else ""
    return ModelNotFoundError(
        f"there is no model {name[:200]!r} here{listed}",
        param="model",
        hint=f"download it with: lmx pull {name}"
        if REPOSITORY.fullmatch(name)
        else "`lmx ls` lists the installed models",
    )


def ambiguous(name: str, close: Iterable[Model]) -> ModelNotFoundError:
    """Return the error for a name without an owner that matches several models."""
    listed = ", ".join(sorted(model.id for model in close)[:NEAREST])
    return ModelNotFoundError(f"several models are named {name!r}: {listed}", param="model", hint="add the owner")


def nearest_names(name: str, known: Sequence[str]) -> list[str]:
    """Return at most NEAREST similar ids, the most similar first. Owners are compared if `name` has one."""
    whole = "/" in name
    texts = {text if whole else text.rpartition("/")[2]: id for id in known[:MAX_COMPARED] if (text := id.lower())}
    return [texts[text] for text in difflib.get_close_matches(name.lower()[:100], texts, NEAREST, SIMILAR)]


def _close(models: Sequence[Model], name: str) -> list[Model]:
    wanted = name.lower()
    return [m for m in models if wanted in (m.id.lower(), m.id.lower().rpartition("/")[2])]
