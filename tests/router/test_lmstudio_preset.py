"""Tests of the translation of LM Studio's presets."""

import json
from typing import Any

import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.preset import Preset, PresetSampling, preset_name
from lmx_daemon.router.lmstudio_preset import translated


def text_of(*fields: tuple[str, Any], load: list[Any] | None = None) -> str:
    operation = {"fields": [{"key": key, "value": value} for key, value in fields]}
    document = {"identifier": "@local:short-answers", "name": "Short answers", "changed": False}
    return json.dumps(document | {"operation": operation, "load": {"fields": load or []}})


def test_fields_are_translated_and_the_others_are_reported() -> None:
    name, preset, ignored = translated(
        text_of(
            ("llm.prediction.systemPrompt", "Be brief."),
            ("llm.prediction.temperature", 0.3),
            ("llm.prediction.topKSampling", 20),
            ("llm.prediction.topPSampling", {"checked": True, "value": 0.9}),
            ("llm.prediction.minPSampling", {"checked": False, "value": 0.05}),
            ("llm.prediction.repeatPenalty", {"checked": True, "value": 1.1}),
            ("llm.prediction.maxPredictedTokens", {"checked": True, "value": 300}),
            ("llm.prediction.stopStrings", ["END"]),
            ("llm.prediction.contextOverflowPolicy", "rollingWindow"),
            ("llm.prediction.llama.cpuThreads", 4),
            ("ext.other", True),
            load=[{"key": "llm.load.contextLength", "value": 8192}],
        )
    )
    assert name == "Short answers"
    assert preset == Preset(
        system="Be brief.",
        sampling=PresetSampling(temperature=0.3, top_k=20, top_p=0.9, repetition_penalty=1.1),
        max_tokens=300,
        stop=("END",),
        overflow="rolling",
    )
    assert ignored == ("llm.prediction.llama.cpuThreads", "ext.other", "llm.load.contextLength")


def test_values_out_of_range_are_reported_and_the_rest_is_kept() -> None:
    _, preset, ignored = translated(
        text_of(
            ("llm.prediction.temperature", 5),
            ("llm.prediction.contextOverflowPolicy", "explode"),
            ("llm.prediction.topKSampling", "many"),
            ("llm.prediction.minPSampling", 0.1),
        )
    )
    assert preset == Preset(sampling=PresetSampling(min_p=0.1))
    assert [each.partition(" ")[0].rpartition(".")[2] for each in ignored] == [
        "temperature",
        "contextOverflowPolicy",
        "topKSampling",
    ]


def test_old_form_is_translated() -> None:
    document = {
        "name": "Old",
        "load_params": {"n_ctx": 1024},
        "inference_params": {
            "pre_prompt": "Be brief.",
            "temp": 0.8,
            "repeat_penalty": 1.2,
            "n_predict": -1,
            "seed": -1,
            "antiprompt": ["END"],
            "input_prefix": "### In",
        },
    }
    name, preset, ignored = translated(json.dumps(document))
    assert name == "Old"
    sampling = PresetSampling(temperature=0.8, repetition_penalty=1.2)
    assert preset == Preset(system="Be brief.", sampling=sampling, stop=("END",))
    assert ignored == ("inference_params.input_prefix", "load_params.n_ctx")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"operation"', "[" * 5000, '{"name": "x", "fields": []}'])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(RequestError):
        translated(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"operation": []}',
        '{"operation": {"fields": {"key": 1}}}',
        '{"operation": {"fields": [1, {}, {"key": 3}, {"key": "llm.prediction.systemPrompt", "value": {}}]}}',
        '{"inference_params": 5, "name": 7}',
    ],
)
def test_odd_forms_do_not_end_the_import(text: str) -> None:
    name, preset, _ = translated(text)
    assert (name, preset) == ("", Preset())


def test_names_lose_the_characters_that_a_file_cannot_have() -> None:
    assert preset_name("Creative Writing (v2)") == "Creative-Writing-v2"
    assert preset_name("@local:short-answers") == "short-answers"
    assert preset_name("../../etc/passwd") == "etc-passwd"
    with pytest.raises(ValueError, match="no characters"):
        preset_name("日本語")
