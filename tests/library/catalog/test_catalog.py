"""The catalog: roots, ids, lookups, descriptions, and damaged or hostile files."""

import json
import os
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis.strategies import (
    booleans,
    dictionaries,
    floats,
    integers,
    lists,
    none,
    recursive,
    sampled_from,
    text,
)
from safetensors.numpy import save_file

from lmx_daemon.contract.errors import ModelNotFoundError
from lmx_daemon.contract.models import Model
from lmx_daemon.library.catalog.catalog import Catalog
from lmx_daemon.library.catalog.describe import describe
from lmx_daemon.library.catalog.model_names import NEAREST
from lmx_daemon.library.catalog.parameter_count import count_parameters
from lmx_daemon.library.catalog.roots import ModelRoot, lmstudio_folders
from lmx_daemon.library.catalog.traits import traits_of
from lmx_daemon.storage.foreign.safetensors import read_header
from tests.library.repositories import make_cached, make_folder

KEYS = sampled_from(
    [
        "model_type", "quantization", "quantization_config", "bits", "mode", "group_size", "quant_method", "dtype",
        "text_config", "architectures", "vision_config", "auto_map", "max_position_embeddings", "chat_template",
        "model_max_length", "template",
    ]
)  # fmt: skip
LEAVES = none() | booleans() | integers() | floats(allow_nan=False) | text(max_size=20)
JSON = recursive(LEAVES, lambda inner: lists(inner, max_size=4) | dictionaries(KEYS, inner, max_size=6), max_leaves=20)


def catalog_of(*roots: ModelRoot, saved: Path | None = None) -> Catalog:
    return Catalog({}, roots, saved=saved)


def ids(catalog: Catalog) -> list[str]:
    return [model.id for model in catalog.refresh()]


class TestRoots:
    def test_models_of_every_kind_of_root_are_listed(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        make_folder(tmp_path / "studio" / "someone" / "two")
        make_folder(tmp_path / "mine" / "three")
        make_folder(tmp_path / "mine" / "deep" / "four")
        make_folder(tmp_path / "single model")
        catalog = catalog_of(
            ModelRoot("hub", tmp_path / "cache"),
            ModelRoot("lmstudio", tmp_path / "studio"),
            ModelRoot("folder", tmp_path / "mine"),
            ModelRoot("folder", tmp_path / "single model"),
        )
        assert ids(catalog) == [
            "lmx/guide", "deep/four", "local/single-model", "local/three", "maker/one", "someone/two",
        ]  # fmt: skip
        assert {m.id: m.source for m in catalog.models()}["someone/two"] == "lmstudio"

    def test_second_model_of_an_id_gets_its_source_as_a_prefix(self, tmp_path: Path) -> None:
        make_cached(tmp_path / "cache", "maker/one")
        make_folder(tmp_path / "studio" / "maker" / "one")
        catalog = catalog_of(ModelRoot("hub", tmp_path / "cache"), ModelRoot("lmstudio", tmp_path / "studio"))
        assert ids(catalog) == ["lmx/guide", "lmstudio:maker/one", "maker/one"]
        assert catalog.locate("maker/one").source == "hub"
        assert catalog.locate("lmstudio:maker/one").source == "lmstudio"

    def test_lm_studio_folders_are_returned_without_reading_them(self, tmp_path: Path) -> None:
        """A folder on a disk that does not answer must not delay the daemon's start."""
        defaults = [tmp_path / ".lmstudio" / "models", tmp_path / ".cache" / "lm-studio" / "models"]
        assert lmstudio_folders({"HOME": str(tmp_path)}) == defaults
        (tmp_path / ".lmstudio").mkdir()
        (tmp_path / ".lmstudio" / "settings.json").write_text(json.dumps({"downloadsFolder": f"{tmp_path}/elsewhere"}))
        assert lmstudio_folders({"HOME": str(tmp_path)}) == [tmp_path / "elsewhere", *defaults]
        assert ids(catalog_of(*(ModelRoot("lmstudio", folder) for folder in defaults))) == ["lmx/guide"]

    @pytest.mark.parametrize("named", ["~nosuchuser/x", "a\0b", "relative", "", 5])
    def test_unusable_folder_in_lm_studio_settings_is_ignored(self, tmp_path: Path, named: object) -> None:
        (tmp_path / ".lmstudio").mkdir()
        (tmp_path / ".lmstudio" / "settings.json").write_text(json.dumps({"downloadsFolder": named}))
        assert len(lmstudio_folders({"HOME": str(tmp_path)})) == 2

    def test_unreadable_roots_are_empty(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert ids(catalog_of(ModelRoot("folder", tmp_path / "file"), ModelRoot("hub", tmp_path / "no"))) == [
            "lmx/guide"
        ]

    def test_gguf_models_are_not_listed(self, tmp_path: Path) -> None:
        (tmp_path / "owner" / "gguf").mkdir(parents=True)
        (tmp_path / "owner" / "gguf" / "model.gguf").write_bytes(b"GGUF")
        assert ids(catalog_of(ModelRoot("lmstudio", tmp_path), ModelRoot("folder", tmp_path))) == ["lmx/guide"]


class TestLookup:
    def test_model_is_found_without_its_owner_and_case(self, tmp_path: Path) -> None:
        make_cached(tmp_path, "Maker/One-4bit")
        catalog = catalog_of(ModelRoot("hub", tmp_path))
        assert catalog.locate("one-4BIT").id == "Maker/One-4bit"

    def test_new_model_is_found_at_once(self, tmp_path: Path) -> None:
        catalog = catalog_of(ModelRoot("hub", tmp_path))
        catalog.models()
        make_cached(tmp_path, "maker/one")
        assert catalog.locate("maker/one").context_length == 2048

    def test_ambiguous_name_is_refused_with_the_matching_ids(self, tmp_path: Path) -> None:
        make_cached(tmp_path, "maker/one")
        make_cached(tmp_path, "other/one")
        with pytest.raises(ModelNotFoundError, match="maker/one, other/one"):
            catalog_of(ModelRoot("hub", tmp_path)).locate("one")

    def test_unknown_name_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFoundError, match="maker/none"):
            catalog_of(ModelRoot("hub", tmp_path)).locate("maker/none")

    def test_error_of_an_unknown_model_lists_similar_names(self, tmp_path: Path) -> None:
        for number in range(30):
            make_cached(tmp_path, f"maker/qwen-{number:02}")
        make_cached(tmp_path, "maker/llama-3.2-1b-instruct-4bit")
        catalog = catalog_of(ModelRoot("hub", tmp_path))
        with pytest.raises(ModelNotFoundError) as raised:
            catalog.locate("maker/llama-3.2-1b-instruct-8bit")
        assert "maker/llama-3.2-1b-instruct-4bit" in raised.value.message
        assert "lmx pull maker/llama-3.2-1b-instruct-8bit" in str(raised.value.hint)
        with pytest.raises(ModelNotFoundError) as raised:
            catalog.locate("qwen-99")
        assert raised.value.message.count("maker/") == NEAREST
        with pytest.raises(ModelNotFoundError) as raised:
            catalog.locate("x" * 5000)
        assert len(raised.value.message) < 300 and "maker/" not in raised.value.message


class TestDescriptions:
    def test_change_of_any_file_updates_the_description(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "one")
        catalog = catalog_of(ModelRoot("folder", tmp_path))
        catalog.refresh()
        assert catalog.locate("local/one").context_length == 2048
        make_folder(folder, max_position_embeddings=4096)
        catalog.refresh()
        assert catalog.locate("local/one").context_length == 4096

    def test_descriptions_survive_a_restart(self, tmp_path: Path) -> None:
        make_folder(tmp_path / "models" / "one")
        saved = tmp_path / "saved"
        first = catalog_of(ModelRoot("folder", tmp_path / "models"), saved=saved).refresh()
        assert catalog_of(ModelRoot("folder", tmp_path / "models"), saved=saved).refresh() == first
        saved.write_bytes(b"nonsense")
        assert catalog_of(ModelRoot("folder", tmp_path / "models"), saved=saved).refresh() == first

    def test_unchanged_model_is_not_read_again(self, tmp_path: Path) -> None:
        for number in range(20):
            make_folder(tmp_path / "mine" / f"model-{number}", side=2)
        catalog = catalog_of(ModelRoot("folder", tmp_path / "mine"))
        first = catalog.refresh()
        make_folder(tmp_path / "mine" / "model-7", side=4)
        changed = [now.id for now, before in zip(catalog.refresh(), first, strict=True) if now is not before]
        assert changed == ["local/model-7"]

    def test_description_has_the_fields_of_the_files(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "one", quantization={"bits": 4, "group_size": 64})
        model = describe("a/b", folder, "folder", None)
        assert model is not None
        assert (model.quantization, model.license, model.chat, model.tools) == ("4-bit", "apache-2.0", True, True)
        assert (model.tool_parser, model.thinking, model.vision, model.embedding) == ("json_tools", False, False, False)

    def test_texts_of_the_config_are_bounded_in_one_line(self, tmp_path: Path) -> None:
        long = "x\x1b\n" * 100_000
        configs: list[dict[str, Any]] = [{"quantization": {"mode": long}}, {"quantization": None, "torch_dtype": long}]
        for config in configs:
            model = describe("a/b", make_folder(tmp_path, model_type=long, **config), "folder", None)
            assert model is not None and model.architecture is not None and model.quantization is not None
            for shown in (model.architecture, model.quantization):
                assert len(shown) <= 200 and shown.isprintable()

    def test_weights_of_another_name_are_a_problem_with_a_hint(self, tmp_path: Path) -> None:
        model = describe("a/b", make_folder(tmp_path / "one", weights="net.safetensors"), "folder", None)
        assert model is not None and model.problem is not None and "lmx import" in model.problem

    @pytest.mark.parametrize(
        ("config", "template", "names", "expected"),
        [
            ({"vision_config": {}}, "x", (), {"vision"}),
            ({"architectures": ["BertModel"]}, "", (), {"embedding"}),
            ({"architectures": ["Qwen3ForCausalLM"]}, "t", ("modules.json",), {"embedding", "chat"}),
            ({}, "{% if enable_thinking %}", (), {"chat", "thinking"}),
            ({}, "", (), set()),
        ],
    )
    def test_traits_follow_from_config_template_and_files(
        self, config: dict[str, Any], template: str, names: tuple[str, ...], expected: set[str]
    ) -> None:
        traits = traits_of(config, template, names)
        found = {name for name in ("vision", "embedding", "chat", "thinking", "tools") if getattr(traits, name)}
        assert found - ({"chat"} if "vision" in expected else set()) == expected

    def test_packed_weights_are_counted_by_their_scales(self, tmp_path: Path) -> None:
        packed = {
            "layer.weight": numpy.zeros((8, 16), numpy.uint32),
            "layer.scales": numpy.zeros((8, 2), numpy.float16),
            "layer.biases": numpy.zeros((8, 2), numpy.float16),
            "norm.weight": numpy.zeros(8, numpy.float32),
        }
        save_file(packed, tmp_path / "model.safetensors")
        assert count_parameters([tmp_path / "model.safetensors"], {"quantization": {"group_size": 64}}) == 8 * 128 + 8
        assert count_parameters([tmp_path / "model.safetensors"], {}) is None

    @settings(max_examples=60, deadline=None)
    @given(config=JSON, tokenizer=JSON, card=text(max_size=200))
    @example(config={"max_position_embeddings": True}, tokenizer={"model_max_length": True}, card="")
    def test_arbitrary_configs_do_not_break_the_description(self, config: Any, tokenizer: Any, card: str) -> None:
        with tempfile.TemporaryDirectory() as place:
            folder = make_folder(Path(place) / "one", side=2)
            (folder / "config.json").write_text(json.dumps(config))
            (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
            (folder / "README.md").write_text(f"---\n{card}", errors="replace")
            model = describe("a/b", folder, "folder", None)
            assert model is not None and msgspec.json.decode(msgspec.json.encode(model), type=Model) == model

    @pytest.mark.parametrize("metadata", [{"format": "pt"}, {"shape": "round", "dtype": "x"}, {}])
    def test_metadata_in_a_header_is_not_a_tensor(self, tmp_path: Path, metadata: dict[str, str]) -> None:
        save_file({"a": numpy.zeros((2, 3), numpy.float16)}, tmp_path / "model.safetensors", metadata)
        found = read_header(tmp_path / "model.safetensors")
        assert found is not None and {name: (t.dtype, t.count) for name, t in found.items()} == {"a": ("F16", 6)}

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"1234567",
            struct.pack("<Q", 2**63) + b"{}",
            struct.pack("<Q", 2) + b"[]",
            struct.pack("<Q", 4) + b"null",
            struct.pack("<Q", 11) + b'{"a": {}}  ',
            struct.pack("<Q", 27) + b'{"a": {"shape": [true, 1]}}',
            struct.pack("<Q", 12) + b'{"\xff\xfe": {}}',
            struct.pack("<Q", 40) + b'{"a":{"dtype":"F32","shape":[-1]}}      ',
            struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[99999999999999999999]}}'.ljust(60),
            struct.pack("<Q", 100_000) + b"[" * 100_000,
        ],
    )
    def test_invalid_header_is_none(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "model.safetensors").write_bytes(content)
        assert read_header(tmp_path / "model.safetensors") is None


class TestHostileFiles:
    @pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "README.md", "chat_template.jinja"])
    def test_fifo_in_a_model_folder_does_not_block_the_listing(self, tmp_path: Path, name: str) -> None:
        folder = make_folder(tmp_path / "one")
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        make_folder(tmp_path / "two")
        begun = time.monotonic()
        assert ids(catalog_of(ModelRoot("folder", tmp_path))) == ["lmx/guide", "local/one", "local/two"]
        assert time.monotonic() - begun < 5

    def test_ref_that_is_a_fifo_is_ignored(self, tmp_path: Path) -> None:
        make_cached(tmp_path, "maker/one")
        (tmp_path / "models--maker--one" / "refs" / "main").unlink()
        os.mkfifo(tmp_path / "models--maker--one" / "refs" / "main")
        assert ids(catalog_of(ModelRoot("hub", tmp_path))) == ["lmx/guide", "maker/one"]

    def test_absurd_config_is_a_problem_in_one_line(self, tmp_path: Path) -> None:
        make_folder(tmp_path / "one", num_hidden_layers=1_000_000)
        model = catalog_of(ModelRoot("folder", tmp_path)).locate("local/one")
        assert model.problem is not None and "num_hidden_layers" in model.problem and "\n" not in model.problem
