"""Shape of the guide, and the forward pass used in training.

Inference uses the Qwen3 of mlx_lm. Training repeats its arithmetic with a faster exponential, because `mx.exp` is slow
on the CPU (12 ns for each number). A test compares the two.
"""

from typing import Any, cast

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map_with_path
from mlx_lm.models.qwen3 import Model, ModelArgs
from numpy.typing import NDArray

from training.circuits.channels import IDENTITY, MEANING, SPREAD, WIDTH
from training.circuits.copying import Circuit
from training.circuits.reading import LAYER as READING
from training.circuits.reading import write_reading_heads

SHAPE: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": WIDTH,
    "num_hidden_layers": 6,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "hidden_act": "silu",
    "torch_dtype": "float32",
}


def create(meanings: NDArray[np.float64], sink: int, seed: int) -> tuple[Model, Circuit]:
    """Return a model with initial embeddings, reading heads and a copying circuit that is not enabled yet.

    `meanings` are the rows of `meaning.py`. `sink` is the token that every prompt starts with.
    """
    model = Model(ModelArgs.from_dict({**SHAPE, "vocab_size": len(meanings)}))
    mx.random.seed(seed)

    def start(path: str, value: mx.array) -> mx.array:
        if value.ndim == 1:
            return value
        quiet = 0.04 if "o_proj" in path or "down_proj" in path else 1.0
        scale: float = quiet * value.shape[-1] ** -0.5
        return mx.random.normal(value.shape) * scale

    model.update(tree_map_with_path(start, model.parameters()))
    embeddings = np.zeros((len(meanings), WIDTH))
    embeddings[:, MEANING] = meanings * SPREAD
    embeddings[:, IDENTITY] = np.array(mx.random.normal((len(meanings), IDENTITY.stop - IDENTITY.start))) * SPREAD
    model.model.embed_tokens.weight = mx.array(embeddings, mx.float32)
    circuit = Circuit(model, SHAPE["rope_theta"], SHAPE["head_dim"], sink, seed)
    circuit.initialise()
    write_reading_heads(model, SHAPE["rope_theta"], SHAPE["head_dim"])
    return model, circuit


def empty(vocabulary: int, sink: int, seed: int) -> tuple[Model, Circuit]:
    """Return a model whose weights come from a checkpoint, and the copying circuit that `create` gave it."""
    model = Model(ModelArgs.from_dict({**SHAPE, "vocab_size": vocabulary}))
    return model, Circuit(model, SHAPE["rope_theta"], SHAPE["head_dim"], sink, seed)


def freeze_initialised(model: Model) -> None:
    """Freeze the embeddings and the layers of the copying circuit. Later layers stay trainable."""
    model.freeze()
    for block in model.model.layers[READING:]:
        block.unfreeze()
    model.model.norm.unfreeze()


def exponential(x: mx.array) -> mx.array:
    """Return e**x in float32 with a relative error of about 1e-6, from vectorised additions, products and a shift."""
    z = mx.maximum(x, -87.0) * 1.4426950408889634
    n = (z + 12582912.0) - 12582912.0
    f = z - n
    p = 0.0096181291 + f * 0.0013333558
    p = 0.0555041087 + f * p
    p = 0.2402265070 + f * p
    p = 0.6931471806 + f * p
    p = 1.0 + f * p
    return p * mx.view(mx.left_shift(n.astype(mx.int32) + 127, 23), mx.float32)


@mx.custom_function
def softmax(x: mx.array) -> mx.array:
    e = exponential(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@softmax.vjp
def _softmax_vjp(primals: Any, cotangent: mx.array, output: mx.array) -> mx.array:
    weighted = output * cotangent
    return weighted - output * weighted.sum(axis=-1, keepdims=True)


@mx.custom_function
def silu(x: mx.array) -> mx.array:
    return x / (1.0 + exponential(mx.minimum(-x, 80.0)))


@silu.vjp
def _silu_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    s = 1.0 / (1.0 + exponential(mx.minimum(-x, 80.0)))
    return cotangent * (s + output * (1.0 - s))


@mx.custom_function
def cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    top = logits.max(axis=-1, keepdims=True)
    total = exponential(logits - top).sum(axis=-1)
    return mx.log(total) + top.squeeze(-1) - mx.take_along_axis(logits, targets[:, None], axis=-1).squeeze(-1)


@cross_entropy.vjp
def _cross_entropy_vjp(primals: Any, cotangent: mx.array, output: mx.array) -> tuple[mx.array, mx.array]:
    logits: mx.array = primals[0]
    targets: mx.array = primals[1]
    p = cast(mx.array, softmax(logits))
    picked = targets[:, None]
    p = mx.put_along_axis(p, picked, mx.take_along_axis(p, picked, axis=-1) - 1.0, axis=-1)
    return p * cotangent[:, None], mx.zeros_like(targets)


def attention(layer: Any, x: mx.array, mask: mx.array) -> mx.array:
    batch, length, _ = x.shape
    heads, groups, size = layer.n_heads, layer.n_kv_heads, layer.q_norm.weight.shape[0]
    q = layer.q_norm(layer.q_proj(x).reshape(batch, length, heads, size)).transpose(0, 2, 1, 3)
    k = layer.k_norm(layer.k_proj(x).reshape(batch, length, groups, size)).transpose(0, 2, 1, 3)
    v = layer.v_proj(x).reshape(batch, length, groups, 1, size).transpose(0, 2, 3, 1, 4)
    q = layer.rope(q).reshape(batch, groups, heads // groups, length, size)
    k = layer.rope(k).reshape(batch, groups, 1, length, size)
    scores = (q * layer.scale) @ k.swapaxes(-1, -2) + mask
    mixed = (softmax(scores) @ v).reshape(batch, heads, length, size)
    output: mx.array = layer.o_proj(mixed.transpose(0, 2, 1, 3).reshape(batch, length, heads * size))
    return output


def hidden(model: Model, ids: mx.array) -> mx.array:
    """Return the normalised final states [batch, length, width] of right-padded ids [batch, length]."""
    length = ids.shape[1]
    mask = mx.triu(mx.full((length, length), -1e9), k=1)
    x = model.model.embed_tokens(ids)
    for block in model.model.layers:
        x = x + attention(block.self_attn, block.input_layernorm(x), mask)
        inner = block.post_attention_layernorm(x)
        mlp = block.mlp
        x = x + mlp.down_proj(silu(mlp.gate_proj(inner)) * mlp.up_proj(inner))
    final: mx.array = model.model.norm(x)
    return final


def loss(model: Model, ids: mx.array, places: mx.array, targets: mx.array, weights: mx.array) -> mx.array:
    """Return the weighted mean cross entropy at the flat indices `places` (row * length + position)."""
    states = hidden(model, ids)
    states = states.reshape(-1, states.shape[-1])[places]
    each = cast(mx.array, cross_entropy(states @ model.model.embed_tokens.weight.T, targets))
    return (each * weights).sum() / weights.sum()
