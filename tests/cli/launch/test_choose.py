"""The choice of a model for an agent."""

from typing import Any

import pytest

from lmx_cli.launch.agents import AGENTS
from lmx_cli.launch.choose import candidates, check, contexts, named
from lmx_daemon.contract.admin.names import AliasRow
from lmx_daemon.contract.errors import LmxError, ModelNotFoundError, UnsupportedError
from lmx_daemon.contract.models import GUIDE, Instance, Model

CLAUDE, AIDER = AGENTS["claude"], AGENTS["aider"]


def model(name: str, **values: Any) -> Model:
    fields: dict[str, Any] = {"context_length": 131_072, "chat": True, "tools": True, "parameters": 1}
    return Model(id=name, path="", source="hub", **(fields | values))


def test_a_loaded_model_comes_first_and_then_the_largest() -> None:
    models = [model("a/small"), model("a/large", parameters=9), model("a/loaded")]
    found = candidates(CLAUDE, models, [Instance(id="a/loaded:1", model="a/loaded", state="ready")])
    assert [each.id for each in found] == ["a/loaded", "a/large", "a/small"]


def test_unsuitable_models_are_left_out() -> None:
    models = [
        model("a/plain", tools=False),
        model("a/short", context_length=8_192),
        model("a/broken", problem="a file is missing"),
        model("a/embedding", embedding=True),
        model("a/base", chat=False),
        model(GUIDE),
    ]
    with pytest.raises(LmxError, match="no installed model suits claude") as caught:
        candidates(CLAUDE, models, [])
    assert caught.value.hint is not None and "lmx pull" in caught.value.hint
    assert [each.id for each in candidates(AIDER, models, [])] == ["a/plain", "a/short"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tools": False}, "not trained to call tools"),
        ({"context_length": 8_192}, "its context has 8,192 tokens"),
        ({"problem": "a file is missing"}, "a file is missing"),
    ],
)
def test_a_named_model_that_does_not_suit_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        check(CLAUDE, model("a/b", **values))


def test_a_name_is_an_id_an_alias_or_a_part() -> None:
    models = [model("org/Qwen-Coder"), model("org/Other")]
    aliases = [AliasRow(name="code", models=("org/Other",), model="org/Other")]
    assert named("org/Qwen-Coder", models, aliases).id == "org/Qwen-Coder"
    assert named("code", models, aliases).id == "org/Other"
    assert named("qwen", models, aliases).id == "org/Qwen-Coder"
    with pytest.raises(ModelNotFoundError, match="is a part of 2 models"):
        named("org/", models, aliases)
    with pytest.raises(ModelNotFoundError, match="is not installed"):
        named("nosuch", models, aliases)


def test_contexts_end_with_the_shortest_that_the_agent_can_use() -> None:
    assert contexts(CLAUDE, model("a/b", context_length=131_072)) == [None, 131_072, 65_536, CLAUDE.minimum]
    assert contexts(AIDER, model("a/b", context_length=10_000)) == [None, AIDER.minimum]
