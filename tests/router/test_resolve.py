"""Tests of the resolver: which models a name means, and why."""

import pytest

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.models import GUIDE, Model
from lmx_daemon.router.resolve import NameRules, resolve


def model(identity: str, **fields: object) -> Model:
    return Model(id=identity, path=f"/{identity}", source="hub", **fields)  # type: ignore[arg-type]


BIG, SMALL, CODER = "org/Qwen3-30B-A3B-4bit", "org/Qwen3-0.6B-8bit", "acme/gpt-oss-20b"
INSTALLED = {each.id: each for each in (model(BIG), model(SMALL), model(CODER), model(GUIDE))}


def meant(name: str, **rules: object) -> list[tuple[str, str]]:
    """Return the candidates' names and reasons."""
    found = resolve(name, INSTALLED, NameRules(**rules))  # type: ignore[arg-type]
    return [(each.name, each.reason) for each in found]


def test_id_of_an_installed_model_wins_over_an_alias_of_the_same_name() -> None:
    assert meant(BIG, aliases={BIG: (SMALL,)}) == [(BIG, "")]


def test_alias_lists_its_models_in_order() -> None:
    aliases = {"code": (BIG, "org/missing", SMALL)}
    assert meant("code", aliases=aliases) == [(BIG, "alias code"), ("org/missing", "alias code"), (SMALL, "alias code")]


def test_alias_of_an_alias_keeps_the_reason_of_the_name_that_was_asked_for() -> None:
    aliases = {"code": ("large", SMALL), "large": (BIG,)}
    assert meant("code", aliases=aliases) == [(BIG, "alias code"), (SMALL, "alias code")]


def test_alias_wins_over_a_part_of_a_name() -> None:
    assert meant("qwen3-30b", aliases={"qwen3-30b": (CODER,)}) == [(CODER, "alias qwen3-30b")]


def test_name_without_owner_and_case_wins_over_a_pattern() -> None:
    assert meant("GPT-OSS-20b", aliases={"gpt-*": (BIG,)}) == [(CODER, "name without owner or case")]


def test_pattern_wins_over_a_part_of_a_name() -> None:
    assert meant("gpt-oss", aliases={"gpt-*": (BIG,)}) == [(BIG, "pattern gpt-*")]


def test_longest_pattern_wins() -> None:
    aliases = {"*": (BIG,), "claude-haiku-*": (SMALL,), "claude-*": (CODER,)}
    assert meant("claude-haiku-4-5", aliases=aliases) == [(SMALL, "pattern claude-haiku-*")]
    assert meant("claude-opus-4-1", aliases=aliases) == [(CODER, "pattern claude-*")]
    assert meant("anything", aliases=aliases) == [(BIG, "pattern *")]


def test_pattern_does_not_apply_to_an_entry_of_its_own_list() -> None:
    aliases = {"gpt-*": ("gpt-oss-20b", "gpt-5")}
    assert meant("gpt-4o", aliases=aliases) == [(CODER, "pattern gpt-*"), ("gpt-5", "pattern gpt-*")]


def test_part_of_a_name_finds_the_only_model_with_such_a_word() -> None:
    assert meant("oss") == [(CODER, "part of the name")]
    assert meant("0.6b") == [(SMALL, "part of the name")]
    assert meant("org/Qwen3-0.6B") == [("org/Qwen3-0.6B", "")], "a name with an owner is that of one repository"
    assert meant("wen3-0") == [("wen3-0", "")], "a part begins at a word"
    assert meant("0b") == [("0b", "")], "a part has three characters"


def test_part_of_several_names_is_an_error_that_lists_them() -> None:
    with pytest.raises(ModelNotFoundError, match=f"several models match 'qwen3': {SMALL}, {BIG}"):
        meant("qwen3")


def test_ambiguous_entry_of_a_list_counts_as_not_installed() -> None:
    assert meant("code", aliases={"code": ("qwen3", CODER)}) == [("qwen3", "alias code"), (CODER, "alias code")]


def test_default_means_its_list() -> None:
    assert meant("default", default=("oss", SMALL)) == [(CODER, "default"), (SMALL, "default")]


def test_auto_means_loaded_models_first_and_the_guide_last() -> None:
    installed = {
        each.id: each
        for each in (
            model(GUIDE, chat=True, used_at=99.0),
            model("a/embeds", embedding=True),
            model("a/broken", problem="weights are incomplete", chat=True),
            model("a/base", used_at=50.0),
            model("a/old", chat=True, used_at=1.0),
            model("a/new", chat=True, used_at=2.0),
            model("a/loaded", chat=True),
        )
    }
    for name in ("auto", "default"):
        found = resolve(name, installed, NameRules(), loaded=[GUIDE, "a/loaded"])
        assert [each.name for each in found] == ["a/loaded", "a/new", "a/old", "a/base", GUIDE]
        assert {each.reason for each in found} == {name}


def test_preset_leads_to_its_models_and_applies_to_each() -> None:
    rules = NameRules(aliases={"code": (BIG, SMALL)}, presets={"review": ("code",), "plain": ()}, default=(CODER,))
    found = resolve("preset:review", INSTALLED, rules)
    assert [(each.name, each.preset, each.reason) for each in found] == [
        (BIG, "review", "preset review"),
        (SMALL, "review", "preset review"),
    ]
    (only,) = resolve("preset:plain", INSTALLED, rules)
    assert (only.name, only.preset) == (CODER, "plain")


def test_entry_of_a_list_may_be_a_preset() -> None:
    rules = NameRules(aliases={"code": ("preset:review", SMALL)}, presets={"review": (BIG,)})
    assert [(each.name, each.preset) for each in resolve("code", INSTALLED, rules)] == [(BIG, "review"), (SMALL, "")]


def test_presets_and_aliases_that_lead_to_each_other_end() -> None:
    rules = NameRules(aliases={"a": ("preset:p",)}, presets={"p": ("a", SMALL)})
    assert [each.name for each in resolve("a", INSTALLED, rules)] == [SMALL]


def test_unknown_name_is_one_candidate_that_is_not_installed() -> None:
    assert meant("claude-opus-4-1") == [("claude-opus-4-1", "")]
    assert meant("preset:nothing") == [("preset:nothing", "")]


def test_many_aliases_of_aliases_are_expanded_once_each() -> None:
    aliases = {f"a{level}": (f"a{level + 1}",) * 50 for level in range(200)} | {"a200": (SMALL,)}
    assert meant("a0", aliases=aliases) == [(SMALL, "alias a0")]
