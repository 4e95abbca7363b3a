"""Model cards through their admin route: hostile files of an installed model, and the stand-in Hub."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lmx_daemon.http.app import admin_app
from lmx_daemon.http.parts import Parts
from lmx_daemon.library import cards
from lmx_daemon.library.cards import MAX_CARD_BYTES, without_front_matter
from lmx_daemon.library.library import Library
from tests.http.asgi import ask
from tests.library.conftest import REPO, StandIn
from tests.library.repositories import library_of, make_cached, make_folder

MODEL = "me/mine"
LARGE = 50_000_000


async def card_of(library: Library, identity: str, *, hub: bool = False, status: int = 200) -> dict[str, Any]:
    """Return the answer of the route."""
    parts: dict[str, Any] = {field.name: None for field in fields(Parts)}
    app = admin_app(Parts(**parts | {"library": library}))
    answer = await ask(app, "POST", "/admin/library/card", {"id": identity, "hub": hub})
    assert answer.status == status, answer.body
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "mine" / MODEL)


class TestLocal:
    async def test_front_matter_is_removed(self, folder: Path, tmp_path: Path) -> None:
        assert (await card_of(library_of(tmp_path), MODEL))["text"] == "# a model"

    async def test_controls_stay_in_the_text_for_the_screen_to_remove(self, folder: Path, tmp_path: Path) -> None:
        (folder / "README.md").write_bytes(b"\xef\xbb\xbfa\x1b]52;c;eA==\x07b\r\n\xff c")
        assert (await card_of(library_of(tmp_path), MODEL))["text"] == "a\x1b]52;c;eA==\x07b\n\ufffd c"

    async def test_large_card_is_cut(self, folder: Path, tmp_path: Path) -> None:
        with (folder / "README.md").open("w") as file:
            file.write("word " * 20_000)
            file.truncate(LARGE)
        found = await card_of(library_of(tmp_path), MODEL)
        assert found["cut"] and len(found["text"]) == MAX_CARD_BYTES

    @pytest.mark.parametrize("content", [b"PK\x03\x04\0\0", b"\x80\x9f" * 90_000], ids=["nul", "latin"])
    async def test_binary_file_is_refused(self, folder: Path, tmp_path: Path, content: bytes) -> None:
        (folder / "README.md").write_bytes(content)
        error = await card_of(library_of(tmp_path), MODEL, status=403)
        assert error["message"] == "the README.md of me/mine is not text"

    @pytest.mark.parametrize("target", ["/etc/passwd", "../../secret.txt", "README.md"])
    async def test_link_to_another_file_is_refused(self, folder: Path, tmp_path: Path, target: str) -> None:
        (tmp_path / "mine" / "secret.txt").write_text("secret")
        (folder / "README.md").unlink()
        (folder / "README.md").symlink_to(target)
        error = await card_of(library_of(tmp_path), MODEL, status=404 if target == "README.md" else 403)
        assert "root:" not in str(error) and "secret" not in str(error)

    async def test_missing_card_or_pipe_is_one_line(self, folder: Path, tmp_path: Path) -> None:
        (folder / "README.md").unlink()
        library = library_of(tmp_path)
        assert (await card_of(library, MODEL, status=404))["message"] == "me/mine has no model card"
        os.mkfifo(folder / "README.md")
        assert (await card_of(library, MODEL, status=404))["message"] == "me/mine has no model card"

    async def test_links_of_the_cache_and_of_an_import_are_followed(self, folder: Path, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", REPO)
        linked = make_folder(tmp_path / "mine" / "me" / "linked")
        (linked / "README.md").unlink()
        (linked / "README.md").symlink_to(folder / "README.md")
        library = library_of(tmp_path)
        for model in (REPO, "me/linked", "lmx/guide"):
            assert (await card_of(library, model))["text"].startswith("# ")


class TestHub:
    @pytest.fixture
    def library(self, environ: dict[str, str], tmp_path: Path) -> Library:
        return library_of(tmp_path, environ)

    async def test_card_is_fetched_once_an_hour(
        self, library: Library, hub: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (hub.root / REPO / "README.md").write_text("---\nlicense: mit\n---\n# tiny\n")
        first = await card_of(library, REPO, hub=True)
        assert first["text"] == "# tiny" and first["asked_at"] > 0
        assert [row["path"] for row in hub.requests()] == [f"/{REPO}/resolve/main/README.md"]
        assert await card_of(library, REPO, hub=True) == first
        assert hub.requests() == []
        monkeypatch.setattr(cards, "FRESH_SECONDS", 0.0)
        assert (await card_of(library, REPO, hub=True))["text"] == "# tiny" and len(hub.requests()) == 1

    async def test_old_card_is_shown_with_the_reason_when_the_hub_fails(
        self, library: Library, hub: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await card_of(library, REPO, hub=True)
        monkeypatch.setattr(cards, "FRESH_SECONDS", 0.0)
        hub.faults(status=500, status_times=100)
        kept = await card_of(library, REPO, hub=True)
        assert kept["text"] == first["text"] and "status 500" in kept["note"]

    async def test_failures_are_one_line(self, library: Library, hub: StandIn) -> None:
        (hub.root / "maker" / "bare").mkdir(exist_ok=True)
        error = await card_of(library, "maker/bare", hub=True, status=404)
        assert error["message"] == "the Hub has no model card of maker/bare, or it is private"
        (hub.root / "maker" / "vast").mkdir(exist_ok=True)
        (hub.root / "maker" / "vast" / "README.md").write_bytes(b"a" * 999_999 + b"\n")
        assert (await card_of(library, "maker/vast", hub=True))["cut"]
        for name in ("../../etc", "maker/../x", "maker"):
            assert "is not a repository id" in (await card_of(library, name, hub=True, status=400))["message"]
        hub.faults(status=500, status_times=100)
        error = await card_of(library, "maker/other", hub=True, status=502)
        assert "\n" not in error["message"] and "responded with status 500" in error["message"]

    async def test_response_without_an_end_is_refused(
        self, library: Library, hub: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cards, "MAX_RESPONSE_BYTES", 1000)
        (hub.root / REPO / "README.md").write_text("a" * 900_000)
        error = await card_of(library, REPO, hub=True, status=502)
        assert error["message"] == "the Hub's response has more than 1000 bytes"

    async def test_offline_variable_is_honoured(self, hub: StandIn, environ: dict[str, str], tmp_path: Path) -> None:
        library = library_of(tmp_path, environ | {"HF_HUB_OFFLINE": "1"})
        assert "HF_HUB_OFFLINE" in (await card_of(library, REPO, hub=True, status=502))["message"]
        assert hub.requests() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\na: b\n---\n\n# T\n", "# T"),
        ("---\n---\nx", "x"),
        ("# T\n---\nx", "# T\n---\nx"),
        ("---\nno end", "---\nno end"),
        ("", ""),
        ("---", "---\n"),
    ],
)
def test_front_matter_ends_at_its_second_line_of_dashes(text: str, expected: str) -> None:
    assert without_front_matter(text) == expected.strip("\n")
