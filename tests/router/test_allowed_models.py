"""Names as a principal sees them that may use some models only: for it, no others exist."""

from pathlib import Path

import pytest

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.contract.principal import Principal
from lmx_daemon.router.router import Router
from tests.residency.fakes import ONE_FITS, Harness
from tests.router.routing import NamedModels, NoPulls, router_over

SMALL = Principal(tenant="key:k", models=("org/small", "team/*"))


class Refusing(NoPulls):
    async def start(self, request: object) -> None:
        raise AssertionError("a download was started")


@pytest.fixture
def router(tmp_path: Path) -> Router:
    models = NamedModels(tmp_path, "org/big", "org/small", "other/big-one")
    aliases = {"code": ["org/big", "org/small"], "large": "org/big", "claude-*": "org/big"}
    return router_over(
        Harness(tmp_path, ONE_FITS).pool, models, Refusing(), aliases=aliases, default="org/big", download_missing=True
    )


async def test_alias_and_auto_fall_through_to_an_allowed_model(router: Router) -> None:
    for name in ("code", "auto", "small", "org/small", "ORG/SMALL"):
        route = await router.route(Generate(id="r", model=name, prompt=Text(text="x")), SMALL)
        assert route.model.id == (await router.find(name, SMALL)).id == "org/small", name
    assert [(row.name, row.model) for row in router.aliases(SMALL)] == [
        ("claude-*", None),
        ("code", "org/small"),
        ("large", None),
    ]


@pytest.mark.parametrize("name", ["org/big", "big", "large", "claude-x", "default", "no/such", "small-2", "preset:x"])
async def test_other_models_and_missing_ones_have_the_same_error(router: Router, name: str) -> None:
    asked = Generate(id="r", model=name, prompt=Text(text="x"))
    for refused in (router.route(asked, SMALL), router.model_to_load(name, SMALL), router.find(name, SMALL)):
        with pytest.raises(ModelNotFoundError) as raised:
            await refused
        assert raised.value.message == f"there is no model {name!r} that this API key may use"
        assert "org/big" not in (raised.value.hint or "")
    with pytest.raises(ModelNotFoundError, match="may use"):
        router.loaded(name, SMALL)
