"""File names and texts that cannot be encoded: they are a problem of one model, and the others are not affected."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmx_daemon.contract.admin.library.files import ImportRequest, TrustRequest, VerifyRequest, VerifyUpdate
from lmx_daemon.contract.errors import UntrustedModelError
from lmx_daemon.contract.models import Model
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.catalog.roots import ModelFolder, ModelRoot
from lmx_daemon.library.hub.hub import Hub
from lmx_daemon.library.hub.hub_client import HubClient
from lmx_daemon.library.library import Library
from tests.library.conftest import StandIn
from tests.library.repositories import library_of, make_cached, make_folder

LATIN = os.fsdecode(b"caf\xe9")
HALF = "\ud83d"


def encoded(value: Any) -> bytes:
    msgspec.json.encode(value)
    return msgspec.msgpack.encode(value)


async def last_of(updates: Any) -> VerifyUpdate:
    found: VerifyUpdate = [update async for update in updates][-1]
    encoded(found)
    return found


def everything(library: Library) -> list[Model]:
    """Return all models, after a check that every result for a front end can be encoded."""
    models = library.registry.catalog.refresh()
    encoded(models)
    for model in models:
        encoded(library.details(model.id))
    encoded(library.space.use())
    encoded(library.space.prune(dry_run=True))
    encoded(library.trash.rows())
    encoded(library.trusted())
    library.tidy()
    return models


class TestFileNames:
    @pytest.mark.parametrize("name", [f"{LATIN}{end}" for end in (".txt", ".py", ".bin", ".gguf", "/x.json")])
    @pytest.mark.parametrize("source", ["hub", "folder"])
    def test_file_name_that_is_not_utf_8_is_a_problem_of_one_model(
        self, tmp_path: Path, name: str, source: str
    ) -> None:
        in_cache = source == "hub"
        place = make_cached(tmp_path / "cache", "maker/odd") if in_cache else make_folder(tmp_path / "mine" / "odd")
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"x")
        if in_cache:
            (place / f"{LATIN}.json").symlink_to((place / "config.json").resolve())
        make_cached(tmp_path / "cache", "maker/sound")
        models = {model.id: model for model in everything(library_of(tmp_path))}
        assert models["maker/sound"].problem is None
        odd = models["maker/odd" if source == "hub" else "local/odd"]
        assert (odd.problem is None) == (not odd.code)
        assert library_of(tmp_path).registry.catalog.refresh() == list(models.values())  # from described.msgpack

    @pytest.mark.parametrize("where", ["cache", "mine", "snapshot", "refs", "blobs"])
    def test_cache_entry_that_is_not_utf_8_is_ignored(self, tmp_path: Path, where: str) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/sound")
        folder = snapshot.parents[1]
        match where:
            case "cache":
                make_folder(tmp_path / "cache" / f"models--maker--{LATIN}" / "snapshots" / ("1" * 40))
            case "mine":
                make_folder(tmp_path / "mine" / LATIN)
            case "snapshot":
                make_folder(folder / "snapshots" / LATIN)
            case "refs":
                (folder / "refs" / LATIN).write_text("1" * 40)
            case "blobs":
                (folder / "blobs" / LATIN).write_bytes(b"x")
                os.utime(folder / "blobs" / LATIN, (0, 0))
        library = library_of(tmp_path)
        models = everything(library)
        assert library.registry.catalog.find("maker/sound").problem is None
        if where == "mine":
            (odd,) = (model for model in models if model.source == "folder")
            assert odd.problem == "its path is not UTF-8: rename the folder"
        library.space.prune(dry_run=False)
        assert library.remove("maker/sound").id == "maker/sound"
        library.undo(None)

    async def test_model_with_such_a_file_is_imported_verified_and_removed(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "else" / "where")
        (folder / f"{LATIN}.txt").write_text("x")
        library = library_of(tmp_path)
        found = await last_of(library.imports.add(ImportRequest(path=str(folder), id="me/mine", copy=True)))
        assert found.state == "recorded"
        assert (await last_of(library.verifier.verify(VerifyRequest(id="me/mine")))).state == "sound"
        everything(library)
        library.remove("me/mine")
        everything(library)
        library.undo("me/mine")
        assert library.registry.catalog.locate("me/mine").problem is None

    async def test_weights_with_such_a_name_are_a_problem(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/odd")
        make_folder(tmp_path / "other", weights="model-extra.safetensors")
        os.rename(tmp_path / "other" / "model-extra.safetensors", snapshot / f"model-{LATIN}.safetensors")
        library = library_of(tmp_path)
        everything(library)
        assert "not UTF-8" in str(library.registry.catalog.find("maker/odd").problem)
        found = await last_of(library.verifier.verify(VerifyRequest(id="maker/odd", accept=True)))
        assert found.state == "changed" and found.faults[0].note == "its name is not UTF-8"

    def test_code_with_such_a_name_is_refused_until_it_is_trusted(self, tmp_path: Path) -> None:
        commit = "abc1234567" * 4
        snapshot = make_cached(tmp_path / "cache", "maker/odd", commit)
        (snapshot / f"{LATIN}.py").write_text("pass")
        library = library_of(tmp_path)
        model = library.registry.catalog.locate("maker/odd")
        assert model.code == ("caf\ufffd.py",)
        with pytest.raises(UntrustedModelError):
            library.registry.clear(model)
        library.trust(TrustRequest(id="maker/odd", revision=commit))
        assert library.registry.clear(library.registry.catalog.locate("maker/odd")) is True
        (snapshot / f"{LATIN}.py").write_text("import os")
        with pytest.raises(UntrustedModelError):
            library.registry.clear(library.registry.catalog.locate("maker/odd"))


class TestTexts:
    @pytest.mark.parametrize(
        "config",
        [
            {"torch_dtype": HALF},
            {"model_type": HALF},
            {HALF: {HALF: [HALF]}},
            {"quantization": {"mode": HALF}},
            {"auto_map": HALF},
            {"architectures": [HALF]},
            {"max_position_embeddings": 2**70, "hidden_size": -(2**70)},
        ],
        ids=ascii,
    )
    def test_lone_surrogate_in_a_config_is_replaced(self, tmp_path: Path, config: dict[str, Any]) -> None:
        make_cached(tmp_path / "cache", "maker/odd", **config)
        make_cached(tmp_path / "cache", "maker/sound")
        library = library_of(tmp_path)
        models = everything(library)
        assert [model.id for model in models] == ["lmx/guide", "maker/odd", "maker/sound"]
        assert library_of(tmp_path).registry.catalog.refresh() == models
        library.remove("maker/odd")

    @pytest.mark.parametrize("name", ["tokenizer_config.json", "chat_template.json", "model.safetensors.index.json"])
    def test_lone_surrogate_in_another_file_is_replaced(self, tmp_path: Path, name: str) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/odd")
        (snapshot / name).unlink(missing_ok=True)
        (snapshot / name).write_text(json.dumps({"chat_template": HALF + "{{ x }}", "weight_map": {HALF: HALF}}))
        everything(library_of(tmp_path))

    def test_absurd_shapes_give_no_parameter_count(self, tmp_path: Path) -> None:
        snapshot = make_cached(tmp_path / "cache", "maker/odd")
        header = json.dumps({"a": {"dtype": "F32", "shape": [2**39, 2**39], "data_offsets": [0, 0]}}).encode()
        (snapshot / "model.safetensors").unlink()
        (snapshot / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        library = library_of(tmp_path)
        encoded(library.registry.catalog.refresh())
        assert library.registry.catalog.find("maker/odd").parameters is None
        assert (tmp_path / "home" / "library" / "described.msgpack").exists()


class TestBoundary:
    def test_error_in_a_description_is_a_problem_of_one_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lmx_daemon.library.catalog import entry

        make_folder(tmp_path / "mine" / "odd")
        make_folder(tmp_path / "mine" / "sound")
        real = entry.describe

        def describe(identity: str, *rest: Any) -> Model | None:
            if identity == "local/odd":
                raise ZeroDivisionError
            return real(identity, *rest)

        monkeypatch.setattr(entry, "describe", describe)
        models = {m.id: m for m in Catalog({}, [ModelRoot("folder", tmp_path / "mine")]).refresh()}
        assert models["local/odd"].problem == "it cannot be described: see the log (`lmx status` shows its path)"
        assert models["local/sound"].problem is None

    def test_error_in_the_completion_is_a_problem_of_one_model(self, tmp_path: Path) -> None:
        def complete(model: Model) -> Model:
            if model.id == "local/odd":
                raise RecursionError
            return model

        make_folder(tmp_path / "mine" / "odd")
        make_folder(tmp_path / "mine" / "sound")
        catalog = Catalog({}, [ModelRoot("folder", tmp_path / "mine")], complete=complete)
        models = {m.id: m for m in catalog.refresh()}
        assert models["local/odd"].problem and models["local/sound"].problem is None

    def test_keys_of_different_paths_differ(self) -> None:
        from lmx_daemon.library.catalog.entry import key_of

        names = [os.fsdecode(name) for name in (b"caf\xe9", b"caf\xe8", "café".encode())]
        keys = {key_of(ModelFolder("local/x", Path(name), "folder")) for name in names}
        assert len(keys) == 3
        encoded(list(keys))


def test_lone_surrogate_in_a_response_of_the_hub_is_replaced(hub: StandIn) -> None:
    (hub.root / "maker" / "tiny" / "config.json").write_text(json.dumps({"model_type": HALF, "n": 2**70}))
    with HubClient(Hub(hub.endpoint, {})) as asking:
        listed = asking.json("/api/models", {"filter": "mlx", "expand": ["config"]})
        commit = listed[0]["sha"] if listed and "sha" in listed[0] else "main"
        config = asking.json(f"/maker/tiny/resolve/{commit}/config.json")
    encoded(listed)
    assert config == {"model_type": "\ufffd", "n": 2**64 - 1}
