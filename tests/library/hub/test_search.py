"""Search and recommendations, with the stand-in Hub and without a Hub."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lmx_daemon.contract.admin.library.hub import Offers, SearchRequest
from lmx_daemon.contract.errors import HubError, RequestError
from lmx_daemon.library.hub.hub_models import trim_config
from lmx_daemon.library.hub.recommend import recommend, recommendations
from lmx_daemon.library.hub.search import normalized
from lmx_daemon.library.library import Library
from tests.library.conftest import REPO, StandIn
from tests.library.repositories import GIGABYTE, library_of, make_cached, make_folder

BIG = 2_000_000_000


@pytest.fixture
def stocked_hub(hub: StandIn) -> StandIn:
    """Add a small model with tools, a 4-bit model of 10 GB, a vision model, and a repository that is not a model."""
    make_folder(hub.root / "maker" / "talker", side=32)
    make_folder(hub.root / "maker" / "large", quantization={"bits": 4, "group_size": 64}, head_dim=128)
    make_folder(hub.root / "other" / "seer", vision_config={"hidden_size": 8})
    make_folder(hub.root / "other" / "speech")
    (hub.root / ".overrides.json").write_text(
        json.dumps(
            {
                "maker/large": {
                    "downloads": 500,
                    "safetensors": {"parameters": {"U32": BIG, "BF16": BIG // 2}, "total": BIG},
                    "tags": ["mlx", "license:mit", "4-bit"],
                },
                "maker/talker": {"downloads": 900, "gated": "auto"},
                "other/seer": {"downloads": 5, "pipeline_tag": "image-text-to-text"},
                "other/speech": {"downloads": 9000, "pipeline_tag": "text-to-speech"},
                REPO: {"downloads": 1},
            }
        )
    )
    hub.requests()
    return hub


def search(library: Library, **asked: Any) -> Offers:
    return library.search().search(SearchRequest(**asked))


def names(offers: Offers) -> list[str]:
    return [offer.id for offer in offers.offers]


class TestSearch:
    @pytest.fixture
    def library(self, stocked_hub: StandIn, environ: dict[str, str], tmp_path: Path) -> Library:
        return library_of(tmp_path, environ, cap=8 * GIGABYTE)

    def test_offer_has_the_fields_of_the_listing(self, library: Library) -> None:
        found = search(library)
        assert names(found) == ["maker/talker", "maker/large", "other/seer", REPO]
        large = found.offers[1]
        assert (large.size, large.parameters) == (BIG * 4 + BIG, BIG * 8)
        assert (large.quantization, large.license, large.downloads) == ("4-bit", "mit", 500)
        assert large.context_length == 2048 and large.memory_context == 2048
        assert found.offers[0].gated and found.offers[0].tools and found.offers[2].vision

    def test_fit_uses_the_memory_plan_of_a_load(self, library: Library) -> None:
        large, small = search(library).offers[1], search(library).offers[0]
        assert large.memory is not None and large.size is not None and large.memory > large.size
        assert (large.fit, small.fit) == ("no", "yes")
        assert search(library, context_length=128).offers[1].memory_context == 128

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"words": "talk"}, ["maker/talker"]),
            ({"author": "other"}, ["other/seer"]),
            ({"fits": True}, ["maker/talker", "other/seer", REPO]),
            ({"vision": True}, ["other/seer"]),
            ({"tools": True, "words": "tiny"}, []),
            ({"quantization": "4bit"}, ["maker/large"]),
            ({"limit": 1}, ["maker/talker"]),
            ({"sort": "size", "limit": 2}, ["maker/talker", "other/seer"]),
            ({"embedding": True}, []),
        ],
    )
    def test_filters(self, library: Library, asked: dict[str, Any], expected: list[str]) -> None:
        assert names(search(library, **asked)) == expected

    def test_configs_are_requested_once_per_commit(self, library: Library, hub: StandIn) -> None:
        search(library)
        first = [row["path"] for row in hub.requests() if row["path"].endswith("config.json")]
        search(library, words="talk")
        again = [row["path"] for row in hub.requests() if row["path"].endswith("config.json")]
        assert len(first) == 5 and again == []

    def test_cached_response_is_used_offline_with_its_age(
        self, library: Library, hub: StandIn, environ: dict[str, str], tmp_path: Path
    ) -> None:
        fresh = search(library)
        assert not fresh.from_cache
        hub.faults(status=500, status_times=100)
        kept = search(library)
        assert kept.from_cache and kept.note and kept.offers == fresh.offers and kept.asked_at == fresh.asked_at
        offline = library_of(tmp_path, environ | {"HF_HUB_OFFLINE": "1"}, cap=8 * GIGABYTE)
        hub.requests()
        assert search(offline).offers == fresh.offers and hub.requests() == []
        with pytest.raises(HubError):
            search(library, words="never asked before")

    def test_response_that_cannot_be_cached_is_returned(self, library: Library, tmp_path: Path) -> None:
        """An older cached response is not returned instead."""
        before = search(library)
        kept = tmp_path / "home" / "library" / "hub"
        shutil.rmtree(kept)
        kept.write_text("in the way")
        now = search(library)
        assert now.offers == before.offers and not now.from_cache and now.asked_at > before.asked_at

    def test_request_names_its_hub(self, hub: StandIn, tmp_path: Path) -> None:
        library = library_of(tmp_path)  # the Hub of the daemon cannot be reached
        with pytest.raises(HubError):
            library.search().search(SearchRequest())
        assert library.search(hub.endpoint).search(SearchRequest(words=REPO)).offers
        with pytest.raises(RequestError):
            library.search("file:///etc")

    def test_installed_models_are_marked(self, library: Library, environ: dict[str, str]) -> None:
        make_cached(Path(environ["HF_HUB_CACHE"]), "maker/talker")
        library.registry.catalog.refresh()
        assert [offer.here for offer in search(library).offers][:2] == [True, False]

    @pytest.mark.parametrize(
        "listing",
        [
            {"id": "../evil"},
            {"id": "https://evil/x"},
            {"sha": "../../x"},
            {"config": [1]},
            {"safetensors": {"parameters": {"F99": 10}, "total": 1}},
            {"safetensors": {"parameters": {"F32": -10}, "total": 1}},
            {"tags": None},
            {"lastModified": None},
            {"pipeline_tag": 7},
        ],
    )
    def test_invalid_listing_is_survived(self, library: Library, hub: StandIn, listing: dict[str, Any]) -> None:
        (hub.root / ".overrides.json").write_text(json.dumps({"maker/talker": listing | {"downloads": 10**6}}))
        if listing.get("tags", "") is None:
            listing["tags"] = ["mlx"]  # the stand-in filters by them
        try:
            found = search(library)
        except HubError:
            return
        assert "../evil" not in names(found) and "maker/large" in names(found)

    def test_spellings_of_quantizations_are_equal(self) -> None:
        assert normalized("4bit") == normalized("4-bit") == normalized("4") and normalized("MXFP4") == normalized(
            "mxfp4"
        )

    def test_configs_are_trimmed(self) -> None:
        layers = {f"model.layers.{number}.q": {"bits": 8} for number in range(1000)}
        kept = trim_config(
            {"quantization": {"bits": 4, **layers}, "id2label": list(range(10_000)), "layer_types": ["a"] * 60}
        )
        assert kept == {"quantization": {"bits": 4}, "layer_types": ["a"] * 60}


class Elsewhere(BaseHTTPRequestHandler):
    """A Hub that redirects every request to `target`, and records the tokens that it received."""

    target = ""
    tokens: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers.get("Authorization"))
        self.send_response(302)
        self.send_header("Location", self.target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing to stderr."""


@pytest.mark.parametrize("target", ["http://localhost:{port}/api/models", "http://127.0.0.1:{port}/api/models"])
def test_requests_and_tokens_are_not_redirected_to_another_host(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        Elsewhere.target, Elsewhere.tokens = target.format(port=server.server_port), []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_CACHE": str(tmp_path / "cache")}
        with pytest.raises(HubError):  # another host, or a circle
            search(library_of(tmp_path, environ))
        server.shutdown()
    assert Elsewhere.tokens == ["Bearer hf_secret"] * (1 if "localhost" in target else 3)


class TestRecommend:
    def test_every_recommendation_is_valid_and_has_a_plan(self, tmp_path: Path) -> None:
        offers = recommend(library_of(tmp_path, cap=500 * GIGABYTE).search(), None, True).offers
        assert [offer.id for offer in offers] == [choice.id for choice in reversed(recommendations())]
        for offer in offers:
            assert (
                offer.memory is not None
                and offer.size is not None
                and offer.size < offer.memory < 1.5 * offer.size + 3e9
            )
            assert offer.fit == "yes" and offer.reason and offer.context_length

    @pytest.mark.parametrize(("gigabytes", "first"), [(6, "Qwen3-4B"), (12, "Qwen3-14B"), (28, "Qwen3-Coder-30B")])
    def test_most_capable_fitting_model_is_first(self, tmp_path: Path, gigabytes: int, first: str) -> None:
        found = recommend(library_of(tmp_path, cap=gigabytes * GIGABYTE).search(), None, False)
        assert first in found.offers[0].id and found.from_cache and found.note
        assert all(offer.fit == "yes" for offer in found.offers)

    def test_figures_of_the_hub_replace_those_of_the_file(
        self, hub: StandIn, environ: dict[str, str], tmp_path: Path
    ) -> None:
        make_folder(hub.root / "mlx-community" / "Qwen3-0.6B-4bit", max_position_embeddings=4096)
        found = recommend(library_of(tmp_path, environ).search(), None, True)
        assert names(found) == ["mlx-community/Qwen3-0.6B-4bit"]  # the others are not there
        assert found.offers[0].context_length == 4096 and not found.from_cache and not found.offers[0].approximate

    def test_list_without_the_hub_is_approximate_and_opens_no_connection(
        self, hub: StandIn, environ: dict[str, str], tmp_path: Path
    ) -> None:
        library = library_of(tmp_path, environ, cap=6 * GIGABYTE)
        hub.requests()
        found = recommend(library.search(), None, False, ask_hub=False)
        assert hub.requests() == [] and found.from_cache and found.note
        assert found.offers[0].id == "mlx-community/Qwen3-4B-Instruct-2507-4bit"
        assert all(offer.approximate and offer.fit == "yes" and offer.parameters for offer in found.offers)

    def test_sizes_are_computed_from_parameters_and_bits(self) -> None:
        sizes = {choice.id.rpartition("/")[2]: choice.size for choice in recommendations()}
        assert sizes["Qwen3-8B-4bit"] == 4_610_000_000
        assert sizes["gpt-oss-20b-MXFP4-Q8"] == 12_050_000_000

    def test_mirror_without_the_recommended_models(self, hub: StandIn, environ: dict[str, str], tmp_path: Path) -> None:
        shutil.rmtree(hub.root / "mlx-community", ignore_errors=True)
        found = recommend(library_of(tmp_path, environ).search(), None, False)
        assert found.offers and found.note and "sizes are from lmx's own list" in found.note
