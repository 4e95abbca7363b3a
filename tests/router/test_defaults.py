"""The defaults of requests: the order of preset, settings, generation_config.json and lmx, and the admin route."""

from lmx_daemon.contract.admin.defaults import DefaultValue
from lmx_daemon.contract.generation.preset import Preset, PresetSampling
from lmx_daemon.contract.generation.requests import Sampling
from lmx_daemon.engines.mlx.sampling.parameters import resolve
from lmx_daemon.router.defaults import defaults_of
from lmx_daemon.settings.schema import ModelSettings

GENERATION = {"temperature": 0.6, "top_k": 20, "top_p": "garbage", "repetition_penalty": 1.3}


def test_preset_wins_over_settings_and_settings_over_the_model() -> None:
    preset = Preset(system="Be brief.", sampling=PresetSampling(temperature=0.2), stop=("END", "###"), thinking=False)
    found = defaults_of(preset, ModelSettings(temperature=0.4, top_k=40, max_tokens=100), GENERATION)
    assert found["temperature"] == DefaultValue(value=0.2, origin="preset")
    assert found["top_k"] == DefaultValue(value=40, origin="settings")
    assert found["max_tokens"] == DefaultValue(value=100, origin="settings")
    assert found["stop"].value == "END, ###" and found["system"].value == "Be brief."
    assert found["thinking"] == DefaultValue(value=False, origin="preset")
    assert "seed" not in found, "without a seed, each request draws one"


def test_defaults_are_those_that_the_engine_applies() -> None:
    for generation in (GENERATION, {}, {"do_sample": False}, {"temperature": float("inf"), "min_p": True}):
        found = defaults_of(None, ModelSettings(), generation)
        engine = resolve(Sampling(), generation)
        for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty"):
            assert found[name].value == getattr(engine, name), name
    assert found["top_p"].origin == "lmx"
    assert defaults_of(None, ModelSettings(), GENERATION)["temperature"].origin == "model"
