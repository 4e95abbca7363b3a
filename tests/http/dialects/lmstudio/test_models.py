"""Models in LM Studio's form. A strict client rejects a whole list for one entry, so every entry has to fit."""

import msgspec
import pytest

from lmx_daemon.contract.models import Instance, Model
from lmx_daemon.contract.worker.messages import Capabilities
from lmx_daemon.http.dialects.lmstudio.answers import V0Model, V1Model
from lmx_daemon.http.dialects.lmstudio.models import bits_per_weight, parameters, quantization_name, v0_entry, v1_entry
from tests.documented_answers import check

FULL = Model(
    id="org/Name-4bit", path="/m", source="hub", architecture="qwen3", quantization="4-bit", parameters=8_000_000_000,
    context_length=40_960, size=5, tools=True, thinking=True, vision=True,
)  # fmt: skip
EMPTY = Model(id="folder", path="/m", source="folder", problem="config.json is damaged")
EMBEDDING = Model(id="org/embed", path="/m", source="hub", embedding=True)
READY = Instance(
    id="org/Name-4bit", model="org/Name-4bit", state="ready", capabilities=Capabilities(context_length=8192)
)
LOADING = Instance(id="org/Name-4bit", model="org/Name-4bit", state="loading")


@pytest.mark.parametrize("model", [FULL, EMPTY, EMBEDDING])
@pytest.mark.parametrize("instances", [[], [READY], [LOADING]])
def test_every_entry_fits_the_closed_form(model: Model, instances: list[Instance]) -> None:
    msgspec.convert(v0_entry(model, "not-loaded", instances), V0Model)
    msgspec.convert(v1_entry(model, instances), V1Model)
    check("lmstudio", "v1_model", msgspec.json.encode(v1_entry(model, instances)))


@pytest.mark.parametrize("model", [FULL, EMPTY, EMBEDDING])
def test_entry_of_a_model_in_each_state_follows_the_documents(model: Model) -> None:
    ready = msgspec.structs.replace(READY, model=model.id)
    for state, instances in (("not-loaded", []), ("loading", [LOADING]), ("loaded", [ready])):
        check("lmstudio", "v0_model", msgspec.json.encode(v0_entry(model, state, instances)))


def test_context_of_a_loaded_instance_is_the_one_that_fits() -> None:
    assert v0_entry(FULL, "loaded", [READY])["loaded_context_length"] == 8192
    assert v1_entry(FULL, [READY])["loaded_instances"] == [{"id": READY.id, "config": {"context_length": 8192}}]
    assert "loaded_context_length" not in v0_entry(FULL, "loading", [LOADING])


def test_embedding_entry_lacks_what_only_language_models_have() -> None:
    assert not v1_entry(EMBEDDING, []).keys() & {"architecture", "capabilities", "description"}


@pytest.mark.parametrize(
    ("given", "name", "bits"),
    [("4-bit", "4bit", 4), ("bfloat16", "bf16", 16), ("mxfp4", "mxfp4", 4), (None, "unknown", None)],
)
def test_quantization_is_written_as_lm_studio_does(given: str | None, name: str, bits: float | None) -> None:
    model = Model(id="m", path="/m", source="hub", quantization=given)
    assert quantization_name(model) == name and bits_per_weight(model) == bits


def test_numbers_of_parameters_are_short() -> None:
    assert [parameters(count) for count in (None, 8_000_000_000, 1_500_000_000, 135_000_000)] == [
        None,
        "8B",
        "1.5B",
        "135M",
    ]
