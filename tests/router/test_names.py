"""Tests of aliases that are saved, and of the presets and aliases that requests name."""

from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.errors import ConflictError, DiskError, NotFoundError, RequestError
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, TextPart
from lmx_daemon.router.router import Router
from tests.residency.fakes import ONE_FITS, Harness
from tests.router.routing import NamedModels, router_over


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def router_of(home: Path, **settings: Any) -> Router:
    catalog = NamedModels(home, "org/big", "org/small")
    return router_over(Harness(home, ONE_FITS).pool, catalog, **settings)


def request(model: str, **fields: Any) -> Generate:
    question = Message(role="user", content=(TextPart(text="x"),))
    return Generate(id="r", model=model, prompt=Chat(messages=(question,)), **fields)


async def test_saved_alias_outlives_the_daemon(home: Path) -> None:
    await router_of(home).names.set_alias("code", ("org/big", "org/small"))
    router = router_of(home)
    assert (await router.find("code")).id == "org/big"
    assert await router.names.remove_alias("code") == ("org/big", "org/small")
    with pytest.raises(NotFoundError):
        await router_of(home).find("code")


async def test_alias_of_the_settings_wins_and_is_not_changed_by_a_command(home: Path) -> None:
    await router_of(home).names.set_alias("code", ("org/big",))
    router = router_of(home, aliases={"code": "org/small"})
    assert (await router.find("code")).id == "org/small"
    for change in (router.names.set_alias("code", ("org/big",)), router.names.remove_alias("code")):
        with pytest.raises(ConflictError, match=r"alias of config.toml"):
            await change
    assert [(row.name, row.source, row.model) for row in router.aliases()] == [("code", "config", "org/small")]


async def test_saved_alias_that_would_form_a_cycle_is_refused(home: Path) -> None:
    router = router_of(home, aliases={"a": "b"})
    with pytest.raises(RequestError, match="aliases form a cycle: "):
        await router.names.set_alias("b", ("a",))
    assert [row.name for row in router.aliases()] == ["a"]


async def test_alias_that_cannot_be_written_does_not_take_effect(home: Path) -> None:
    router = router_of(home)
    (home / "aliases.json").mkdir()
    with pytest.raises(DiskError):
        await router.names.set_alias("code", ("org/big",))
    assert router.aliases() == []


@pytest.mark.parametrize("content", ['{"aliases": {"a"', "[]", '{"aliases": {"a": [1]}}', '{"version": 0}'])
async def test_damaged_file_of_aliases_is_set_aside(home: Path, content: str) -> None:
    (home / "aliases.json").write_text(content)
    assert router_of(home).aliases() == []
    assert list(home.glob("aliases.json.unreadable-*"))


async def test_removal_of_an_unknown_alias_gets_the_nearest(home: Path) -> None:
    router = router_of(home)
    await router.names.set_alias("code", ("org/big",))
    with pytest.raises(NotFoundError, match="similar names: code"):
        await router.names.remove_alias("cod")


async def test_preset_is_named_by_the_model_or_by_its_field(home: Path) -> None:
    (home / "presets").mkdir()
    (home / "presets" / "brief.toml").write_text('model = "org/small"\nsystem = "Be brief."\n')
    router = router_of(home)
    for asked in (request("preset:brief"), request("org/big", preset="brief"), request("big", preset="@local:brief")):
        route = await router.route(asked)
        assert route.model.id == ("org/small" if asked.model == "preset:brief" else "org/big")
        applied = route.applied(asked)
        assert isinstance(applied.prompt, Chat) and applied.prompt.messages[0].text == "Be brief."


async def test_unknown_and_faulty_presets_are_errors(home: Path) -> None:
    (home / "presets").mkdir()
    (home / "presets" / "brief.toml").write_text("nonsense = 1")
    router = router_of(home)
    for asked in (request("preset:brif"), request("org/big", preset="brif")):
        with pytest.raises(NotFoundError, match="there is no preset 'brif'; similar names: brief"):
            await router.route(asked)
    for asked in (request("preset:brief"), request("org/big", preset="brief")):
        with pytest.raises(RequestError, match=r"the preset brief cannot be used: .*nonsense"):
            await router.route(asked)


async def test_unknown_model_gets_the_nearest_presets(home: Path) -> None:
    (home / "presets").mkdir()
    (home / "presets" / "review.toml").write_text("")
    with pytest.raises(NotFoundError, match="similar names: preset:review"):
        await router_of(home).find("presets:review")
