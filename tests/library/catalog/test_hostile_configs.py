"""Configs with one wrong value: a model is listed, shown and planned, and its problem names the file and the key."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmx_daemon.library.hub.hub_models import HubModel, parse_model
from tests.hostile import PYTHON_NAME, mutations
from tests.library.repositories import CONFIG, library_of, make_folder

MORE: dict[str, dict[str, Any]] = {
    "plain": {},
    "nested": {"model_type": "gemma3", "text_config": CONFIG | {"sliding_window": 32, "sliding_window_pattern": 2}},
    "latent": {"model_type": "deepseek_v3", "kv_lora_rank": 16, "qk_rope_head_dim": 8},
    "hybrid": {"model_type": "kimi_linear", "kv_lora_rank": 16, "qk_rope_head_dim": 8,
               "linear_attn_config": {"num_heads": 2, "head_dim": 8, "kda_layers": [1]}},
    "layers": {"model_type": "gemma4", "layer_types": ["full_attention"], "quantization": {"bits": 4}},
}  # fmt: skip


@pytest.mark.parametrize("kind", MORE)
def test_model_with_a_wrong_value_is_listed_shown_and_planned(tmp_path: Path, kind: str) -> None:
    folder = make_folder(tmp_path / "mine" / "one", **MORE[kind])
    library = library_of(tmp_path)
    for name, changed in mutations(CONFIG | MORE[kind]):
        (folder / "config.json").write_text(json.dumps(changed))
        library.registry.catalog.refresh()
        details = library.details("local/one")
        shown = msgspec.json.encode(details).decode()
        assert details.model.problem is None or details.model.problem.startswith("config.json: "), name
        assert details.memory is not None and not PYTHON_NAME.search(shown), name


@pytest.mark.parametrize("kind", MORE)
def test_offer_of_the_hub_with_a_wrong_value_is_planned(tmp_path: Path, kind: str) -> None:
    info = {
        "id": "maker/one",
        "sha": "1" * 40,
        "config": CONFIG | MORE[kind] | {"tokenizer_config": {"chat_template": "x"}},
        "safetensors": {"parameters": {"BF16": 1000, "U32": 10}, "total": 1010},
        "tags": ["mlx"],
        "pipeline_tag": "text-generation",
        "downloads": 1,
        "likes": 1,
        "lastModified": "2026-11-01T00:00:00.000Z",
        "gated": False,
        "usedStorage": 1000,
    }
    search = library_of(tmp_path).search()
    for name, changed in mutations(info):
        found = parse_model(changed)
        assert (found is None) == name.startswith("id="), name
        if found is not None:
            assert msgspec.json.decode(msgspec.json.encode(found), type=HubModel).id == "maker/one"  # as it is cached
            msgspec.json.encode(search.offer(found))
