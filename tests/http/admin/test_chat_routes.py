"""The routes of chats: bounds of their queries."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.chats.chats import Chats
from lmx_daemon.chats.store.store import ChatStore
from lmx_daemon.contract.admin.chats import ChatCreate
from lmx_daemon.http.app import admin_app
from lmx_daemon.http.parts import Parts
from lmx_daemon.http.server.body_reader import BodyReader
from lmx_daemon.settings.schema import ServerSettings
from tests.chats.scripted_models import ScriptedModels
from tests.http.asgi import ask


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("limit=99999999999999999999", 1),
        ("limit=-99999999999999999999", 0),
        ("offset=99999999999999999999", 0),
        ("offset=-99999999999999999999", 1),
    ],
)
async def test_every_whole_number_is_a_valid_bound(tmp_path: Path, query: str, count: int) -> None:
    chats = Chats(ChatStore(tmp_path / "chats.db"), ScriptedModels(), lambda work: None)
    await chats.create(ChatCreate(title="whales"))
    parts: dict[str, Any] = {field.name: None for field in fields(Parts)}
    app = admin_app(Parts(**parts | {"chats": chats, "bodies": BodyReader(ServerSettings)}))
    answer = await ask(app, "GET", f"/admin/chats?{query}")
    await chats.close()
    assert answer.status == 200 and len(json.loads(answer.body)) == count
