"""The models of the demonstration: those on disk, those on the Hub, and their memory plans. Fixed data."""

from lmx_daemon.contract.admin.library.hub import Offer
from lmx_daemon.contract.models import GUIDE, Figure, MemoryPlan, Model

GB = 1_000_000_000
CAP = 96 * GB
"""Memory that the scripted machine may use."""
CONTEXT = 32_768
"""Context length of the memory plans."""
SCRATCH = 800_000_000
QWEN_SMALL = "mlx-community/Qwen3-8B-4bit"
QWEN_LARGE = "mlx-community/Qwen3-32B-4bit"
GEMMA = "mlx-community/gemma-3-27b-it-qat-4bit"
MODELS = (
    Model(
        id=GUIDE, path="/opt/lmx/guide", source="built-in", size=8_400_000, architecture="Qwen3",
        quantization="float32", parameters=2_100_000, context_length=2048, chat=True, tools=True, thinking=True,
    ),
    Model(
        id=QWEN_SMALL, path="/models/Qwen3-8B-4bit", source="hub", revision="3f1c0d2a9b77", size=4_600_000_000,
        architecture="Qwen3", quantization="4-bit", parameters=8_190_000_000, context_length=40_960, chat=True,
        tools=True, thinking=True, license="apache-2.0",
    ),
    Model(
        id=QWEN_LARGE, path="/models/Qwen3-32B-4bit", source="hub", revision="77aa19e0c4d1", size=18_400_000_000,
        architecture="Qwen3", quantization="4-bit", parameters=32_800_000_000, context_length=40_960, chat=True,
        tools=True, thinking=True, license="apache-2.0",
    ),
    Model(
        id=GEMMA, path="/models/gemma-3-27b-it-qat-4bit", source="hub", revision="99d0f3b1a2c4", size=16_800_000_000,
        architecture="Gemma3", quantization="4-bit", parameters=27_000_000_000, context_length=131_072, chat=True,
        vision=True, license="gemma",
    ),
)  # fmt: skip
OFFERS = (
    Offer(
        id="mlx-community/Qwen3-4B-4bit", size=2_300_000_000, parameters=4_020_000_000, quantization="4-bit",
        architecture="Qwen3", context_length=40_960, tools=True, thinking=True, license="apache-2.0",
        downloads=120_000, likes=48, reason="fast, with tools",
    ),
    Offer(
        id="mlx-community/Qwen3-Coder-30B-A3B-Instruct-4bit", size=17_200_000_000, parameters=30_500_000_000,
        quantization="4-bit", architecture="Qwen3Moe", context_length=262_144, tools=True, license="apache-2.0",
        downloads=74_000, likes=61, reason="code, with tools",
    ),
    Offer(
        id="mlx-community/gpt-oss-120b-MXFP4-Q4", size=63_100_000_000, parameters=117_000_000_000,
        quantization="mxfp4", architecture="GptOss", context_length=131_072, tools=True, thinking=True,
        license="apache-2.0", downloads=31_000, likes=40, reason="the largest that fits",
    ),
    Offer(
        id="mlx-community/GLM-4.5-Air-8bit", size=113_000_000_000, parameters=110_000_000_000, quantization="8-bit",
        architecture="Glm4Moe", context_length=131_072, tools=True, license="mit", downloads=9_000, likes=22,
    ),
)  # fmt: skip


def plan_of(size: int) -> MemoryPlan:
    """Return the memory plan of a model with `size` bytes of weights."""
    return MemoryPlan(
        weights=Figure(bytes=size, basis="exact"),
        cache=Figure(bytes=GB // 5 + size // 8, basis="computed"),
        scratch=Figure(bytes=SCRATCH, basis="estimated"),
        context=CONTEXT,
    )


def model_of(offer: Offer) -> Model:
    """Return an offer of the Hub as the model that its pull puts on the disk."""
    return Model(
        id=offer.id, path=f"/models/{offer.id.partition('/')[2]}", source="hub", revision="5c1d7e90ab32",
        size=offer.size or 0, architecture=offer.architecture, quantization=offer.quantization,
        parameters=offer.parameters, context_length=offer.context_length, chat=True, tools=offer.tools,
        thinking=offer.thinking, vision=offer.vision, license=offer.license,
    )  # fmt: skip


CARD = """# {name}

A model of the demonstration. Its card is a part of the script.

```python
from mlx_lm import generate, load

model, tokenizer = load("{name}")
```

- `lmx tui` without `--demo` shows the cards of real models.
"""
