"""Rows of the list of models."""

from collections import defaultdict
from typing import Any

import pytest

from lmx_daemon.contract.models import Instance, Model
from lmx_tui.widgets.models.model_query import ModelQuery
from lmx_tui.widgets.models.model_rows import expiry, ordered, short_state
from lmx_tui.widgets.monitor.requests import instance_rows
from tests.screen_states import QWEN, busy_snapshot


def test_models_are_sorted_by_their_displayed_names() -> None:
    models = tuple(Model(id=name, path="", source="hub") for name in ("b/zeta", "z/Alpha", "a/mid", "c/alpha"))
    shown = [model.id for model in ordered(busy_snapshot(models=models), ModelQuery(), "name", False, {})]
    assert shown == ["c/alpha", "z/Alpha", "a/mid", "b/zeta"]


@pytest.mark.parametrize(
    ("stage", "progress", "shown"),
    [
        ("weights", 0.41, "weights 41%"),
        ("weights", 1.0, "weights 100%"),
        ("warming up", None, "warming up"),
        ("making room: a/b leaves", None, "making room"),
        ("waiting for memory: a/b is busy", None, "waiting"),
        ("", 0.5, "loading 50%"),
    ],
)
def test_state_column_shows_the_load_stage(stage: str, progress: float | None, shown: str) -> None:
    instance = Instance(id="i", model=QWEN, state="loading", stage=stage, progress=progress)
    assert short_state(instance, 12) == shown
    rows = instance_rows(busy_snapshot(instances=(instance,)), defaultdict(str))
    assert rows["i"]["state"].plain == shown


def test_expiry_of_a_model_is_shown() -> None:
    def shown_expiry(**fields: Any) -> str:
        return expiry(Instance(id="i", model=QWEN, state="ready", **fields), now=1000.0)

    assert shown_expiry(ttl=900.0) == "idle 15m" and shown_expiry(ttl=900.0, expires_at=1300.0) == "in 5m"
    assert shown_expiry() == "never" and shown_expiry(ttl=900.0, pinned=True) == "pinned"
