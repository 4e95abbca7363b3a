"""Plans of loads and models of the Hub that tests of the TUI show."""

from lmx_daemon.contract.admin.library.hub import Offer
from lmx_daemon.contract.models import Figure, MemoryPlan, Verdict
from tests.screen_states import GB, QWEN

VERDICT = Verdict(
    model=QWEN,
    plan=MemoryPlan(
        weights=Figure(bytes=168 * GB // 10, basis="exact"),
        cache=Figure(bytes=34 * GB // 10, basis="computed"),
        scratch=Figure(bytes=8 * GB // 10, basis="estimated"),
        context=32_768,
    ),
    outcome="fits",
    cap=96 * GB,
    free=70 * GB,
)
OFFERS = (
    Offer(
        id="mlx-community/Qwen3-4B-4bit", size=23 * GB // 10, memory=38 * GB // 10, fit="yes", tools=True,
        thinking=True,        license="apache-2.0", downloads=120_000, reason="fast, with tools",
    ),
    Offer(
        id="mlx-community/gemma-3-27b-it-qat-4bit", size=168 * GB // 10, memory=21 * GB, fit="after unloading",
        vision=True, gated=True, reason="images",
    ),
    Offer(id="mlx-community/GLM-4.5-Air-8bit", size=113 * GB, memory=118 * GB, fit="no", tools=True),
)  # fmt: skip
CHOICES = (
    Offer(
        id="mlx-community/Qwen3-8B-4bit", size=461 * GB // 100, memory=66 * GB // 10, fit="yes", approximate=True,
        parameters=8_190_000_000, reason="everyday work: thinks when asked to, calls tools; comfortable on 16 GB",
    ),
    Offer(
        id="mlx-community/Llama-3.2-3B-Instruct-4bit", size=181 * GB // 100, memory=28 * GB // 10, fit="yes",
        approximate=True, parameters=3_210_000_000, reason="chat on a small machine: quick answers; long context",
    ),
    Offer(
        id="mlx-community/gpt-oss-20b-MXFP4-Q8", size=12 * GB, memory=14 * GB, fit="after unloading",
        approximate=True, parameters=20_910_000_000, reason="reasoning and tools: needs 24 GB",
    ),
)  # fmt: skip
"""Choices of the welcome, as the daemon lists them without the Hub."""
CARD = """# Qwen3 8B, 4-bit

![logo](https://host.example/logo.png) Converted for **MLX** from the [original weights](https://host.example/qwen3-8b).

## Use

```python
from mlx_lm import generate, load

model, tokenizer = load("Qwen3-8B-4bit")
```

| context | memory |
|---|---|
| 8k | 5.8 GB |
| 32k | 9.4 GB |

- Thinks before it answers; `/no_think` turns that off.
- Calls tools in the Hermes form.
"""
