"""numpy's attention and SwiGLU against those of MLX."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lmx_daemon.engines.mlx import patches, platform
from lmx_daemon.engines.mlx.cpu import exponentials as host
from tests.engines.mlx.batch.test_batch import model_of

SHAPES = {
    "a piece of its own": (1, 4, 4, 130, 130),
    "behind a long prefix": (1, 8, 2, 34, 1500),
    "several prompts": (5, 4, 2, 64, 64),
    "rows that no chunk divides": (2, 3, 1, 257, 301),
    "one row over a chunk": (1, 1, 1, 3, 70_000),
}


def window(length: int, tokens: int) -> mx.array:
    """Return the mask of a sliding window of 20 tokens; the first rows see a few tokens only."""
    own, all_of = mx.arange(tokens - length, tokens)[:, None], mx.arange(tokens)[None]
    return (own >= all_of) & (own < all_of + 20)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", ["causal", "none", "window"])
def test_attention_equals_that_of_mlx(shape: tuple[int, ...], kind: str) -> None:
    rows, heads, own_heads, length, tokens = shape
    mx.random.seed(3)
    queries = mx.random.normal((rows, heads, length, 16))
    keys, values = mx.random.normal((rows, own_heads, tokens, 16)), mx.random.normal((rows, own_heads, tokens, 24))
    mask: Any = {"causal": "causal", "none": None, "window": window(length, tokens)}[kind]
    assert host.can_attend(queries, keys, values, mask)
    found = host.attend(queries, keys, values, 0.3, mask)
    expected = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.3, mask=mask)
    assert found.shape == expected.shape
    assert mx.max(mx.abs(found - expected)).item() < 1e-5


def test_extreme_scores_give_finite_results() -> None:
    queries = 1e4 * mx.random.normal((1, 4, 80, 16))
    keys = values = mx.random.normal((1, 4, 80, 16))
    found = host.attend(queries, keys, values, 1.0, "causal")
    expected = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=1.0, mask="causal")
    assert mx.allclose(found, expected, atol=1e-4).item()


def test_unsupported_arguments_are_left_to_mlx() -> None:
    known = mx.zeros((1, 4, 100, 16))
    assert host.can_attend(known, known, known, "causal")
    assert not host.can_attend(known.astype(mx.bfloat16), known, known, "causal")
    assert not host.can_attend(known, known, known, mx.zeros((100, 100)))  # added to the scores
    assert not host.can_attend(known, known, known, mx.ones((1, 1, 100, 100), mx.bool_))  # a mask for each row
    assert not host.can_attend(known, (known, known, known), known, None)  # quantised
    assert not host.can_attend(known[:, :, :8], known[:, :, :8], known[:, :, :8], None)  # too small


def test_swiglu_equals_that_of_mlx() -> None:
    gate = mx.concatenate([mx.linspace(-1e4, 1e4, 10_000), mx.linspace(-20, 20, 10_000)])[None]
    x = mx.random.normal(gate.shape)
    assert host.can_gate(gate, x) and not host.can_gate(gate.astype(mx.float16), x)
    expected = gate.astype(mx.float32) * mx.sigmoid(gate) * x
    assert mx.allclose(host.gate(gate, x), expected, rtol=1e-5, atol=1e-6).item()


def test_numpy_computes_only_while_the_input_tokens_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph of a decode step is built on tokens that are sampled later; numpy would read the wrong ones."""
    if not platform.on_cpu():
        pytest.skip("numpy takes part on a CPU only")
    asked = []
    attend = host.attend
    monkeypatch.setattr(host, "attend", lambda *given: asked.append(given) or attend(*given))
    model, tokens = model_of("llama"), mx.array([[5] * 200])
    patches.install(platform.backend().replacements)
    expected = model(tokens)
    assert not asked
    with patches.known_inputs():
        found = model(tokens)
    assert len(asked) == len(model.layers)
    assert np.allclose(np.asarray(found), np.asarray(expected), atol=1e-4)
