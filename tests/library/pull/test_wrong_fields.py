"""Fields of a wrong type in the Hub's responses: one that is not needed is skipped, another one gives a clear error."""

from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.contract.admin.library.hub import SearchRequest
from lmx_daemon.contract.errors import HubError
from lmx_daemon.library.pull.pull_queue import PullQueue
from tests.hostile import PYTHON_NAME
from tests.library.conftest import REPO, StandIn
from tests.library.pull.pulling import WHOLE, pull, visible
from tests.library.repositories import library_of

WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e400,
    "x",
    "0001-01-01T00:00:00",
    "9999-12-31T23:59:59",
    [],
    [None],
    {"a": 1},
)
NOT_NEEDED = (
    "lastModified",
    "createdAt",
    "siblings",
    "gated",
    "tags",
    "downloads",
    "private",
    "pipeline_tag",
    "config",
)


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
async def test_field_that_a_pull_does_not_need_is_ignored(
    pulls: PullQueue, hub: StandIn, environ: dict[str, str], wrong: Any
) -> None:
    hub.faults(info=dict.fromkeys(NOT_NEEDED, wrong), row={"xetHash": wrong, "lastCommit": wrong, "security": wrong})
    done = await pull(pulls)
    assert done.state == "done" and visible(environ) == WHOLE


@pytest.mark.parametrize(
    ("faults", "code", "expected"),
    [
        *(({"info": {"sha": wrong}}, "hub_error", "invalid commit") for wrong in WRONG),
        *(({"row": {"path": wrong}}, "untrusted_model", "without a path") for wrong in (None, 1, [], {})),
        *(({"row": {"size": wrong}}, "untrusted_model", "no valid size") for wrong in (None, True, "1", [], 2**80)),
        *(({"row": {"oid": wrong}}, "untrusted_model", "no valid hash") for wrong in (None, 1, "x", [], {})),
        *(({"row": {"lfs": wrong}}, "untrusted_model", "no valid hash") for wrong in (1, "x", [1], {"oid": []})),
        *(({"tree": wrong}, "hub_error", "") for wrong in (1, {"error": "x"}, ["x"], [None], "text")),
    ],
)
async def test_field_that_a_pull_needs_is_a_clear_error(
    pulls: PullQueue, hub: StandIn, faults: dict[str, Any], code: str, expected: str
) -> None:
    hub.faults(**faults)
    failed = await pull(pulls)
    assert failed.state == "failed" and failed.error is not None
    text = f"{failed.error.message} {failed.error.hint}"
    assert failed.error.code == code and expected in text
    assert "network" not in text and "cannot reach" not in text and not PYTHON_NAME.search(text)


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_search_skips_wrong_fields(hub: StandIn, environ: dict[str, str], tmp_path: Path, wrong: Any) -> None:
    fields = ("sha", "usedStorage", "safetensors", "likes", "pipeline_tag", *NOT_NEEDED)
    for field in fields:
        value = wrong if field != "pipeline_tag" or not isinstance(wrong, str) else None
        hub.faults(info={field: value, "tags": ["mlx"]} if field != "tags" else {"private": wrong})
        found = library_of(tmp_path, environ).search().search(SearchRequest())
        assert [offer.id for offer in found.offers] == [REPO] and not found.from_cache, field


def test_address_that_is_not_valid_is_a_clear_error(environ: dict[str, str], tmp_path: Path) -> None:
    for endpoint in ("https://[::1", "http://a:b:c", "http://\ud83d"):
        library = library_of(tmp_path, environ | {"HF_ENDPOINT": endpoint})
        with pytest.raises(HubError) as failed:
            library.search().search(SearchRequest())
        assert not PYTHON_NAME.search(failed.value.message)
