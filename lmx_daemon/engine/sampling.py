"""How a token is chosen from log-probabilities: filters, temperature, penalties, and each request's own randomness.

A Sampler draws from a key of its own, so that the same seed gives the same answer whatever else is in the batch.
"""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx_lm.sample_utils import greedy_sampler

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation import Sampling

GOLDEN = 0x9E3779B97F4A7C15
"""Sets the seeds of a request's further choices far apart."""


@dataclass(frozen=True)
class Resolved:
    """Sampling with every default filled in."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float


def resolve(sampling: Sampling, defaults: dict[str, Any]) -> Resolved:
    """What the request says, else the model's generation_config.json (`defaults`), else the neutral value."""

    def pick(asked: float | int | None, name: str, neutral: float) -> float:
        if asked is not None:
            return asked
        value = defaults.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else neutral

    plain = 0.0 if defaults.get("do_sample") is False else 1.0
    return Resolved(
        temperature=float(pick(sampling.temperature, "temperature", plain)),
        top_p=float(pick(sampling.top_p, "top_p", 1.0)),
        top_k=int(pick(sampling.top_k, "top_k", 0)),
        min_p=float(pick(sampling.min_p, "min_p", 0.0)),
        repetition_penalty=sampling.repetition_penalty,
    )


def check(sampling: Sampling, vocabulary: int) -> None:
    """Raises RequestError where a value means nothing to this model."""
    for token in sampling.logit_bias:
        if not 0 <= token < vocabulary:
            raise RequestError(
                f"logit_bias names token {token}; this model has tokens 0 to {vocabulary - 1}", param="logit_bias"
            )


def sampler_for(resolved: Resolved, seed: int, choice: int) -> Any:
    """Greedy rows share one object, which lets a batch of them be sampled in one call."""
    if resolved.temperature == 0.0:
        return greedy_sampler
    return Sampler(resolved, (seed + choice * GOLDEN) % 2**63)


class Sampler:
    """Draws one token for each row of [rows, vocabulary] log-probabilities."""

    def __init__(self, resolved: Resolved, seed: int) -> None:
        self._resolved = resolved
        self._key = mx.random.key(seed)

    def __call__(self, logprobs: mx.array) -> mx.array:
        self._key, now = mx.random.split(self._key)
        kept = filtered(logprobs, self._resolved)
        return mx.random.categorical(kept * (1.0 / self._resolved.temperature), key=now)


def filtered(logprobs: mx.array, resolved: Resolved) -> mx.array:
    """`logprobs` [rows, vocabulary] with -inf where top_k, top_p or min_p drops a token; the likeliest always stays."""
    least = mx.array(-mx.inf, logprobs.dtype)
    if 0 < resolved.top_k < logprobs.shape[-1]:
        threshold = mx.min(mx.topk(logprobs, resolved.top_k, axis=-1), axis=-1, keepdims=True)
        logprobs = mx.where(logprobs < threshold, least, logprobs)
    if resolved.top_p < 1.0:
        order = mx.argsort(-logprobs, axis=-1)
        ranked = mx.exp(mx.take_along_axis(logprobs, order, axis=-1))
        before = mx.cumsum(ranked, axis=-1) - ranked
        # The first of the ranking is kept even where top_p is 0.
        drop = (before >= resolved.top_p * mx.sum(ranked, axis=-1, keepdims=True)) & (mx.arange(order.shape[-1]) > 0)
        dropped = mx.put_along_axis(mx.zeros_like(logprobs), order, drop.astype(logprobs.dtype), axis=-1)
        logprobs = mx.where(dropped > 0, least, logprobs)
    if resolved.min_p > 0.0:
        top = mx.max(logprobs, axis=-1, keepdims=True)
        logprobs = mx.where(logprobs < top + float(mx.log(mx.array(resolved.min_p))), least, logprobs)
    return logprobs


@dataclass
class Penalties:
    """A logits processor: presence and frequency count the answer's tokens, repetition the prompt's too."""

    prompt_tokens: int
    presence: float
    frequency: float
    repetition: float
    bias: dict[int, float] = field(default_factory=dict)

    def __call__(self, context: mx.array, logits: mx.array) -> mx.array:
        """`context` [tokens] is the whole sequence so far; `logits` is [1, vocabulary]."""
        vocabulary = logits.shape[-1]
        if self.repetition != 1.0:
            seen = mx.zeros((vocabulary,)).at[context].add(1.0) > 0
            softer = mx.where(logits > 0, logits / self.repetition, logits * self.repetition)
            logits = mx.where(seen[None], softer, logits)
        if self.presence or self.frequency:
            counts = mx.zeros((vocabulary,)).at[context[self.prompt_tokens :]].add(1.0)
            logits = logits - self.frequency * counts[None] - self.presence * (counts[None] > 0)
        if self.bias:
            ids, values = mx.array(list(self.bias)), mx.array(list(self.bias.values()), logits.dtype)
            logits = logits.at[:, ids].add(values)
        return logits


def processors_for(sampling: Sampling, resolved: Resolved, prompt_tokens: int) -> list[Any]:
    if (
        resolved.repetition_penalty == 1.0
        and not sampling.presence_penalty
        and not sampling.frequency_penalty
        and not sampling.logit_bias
    ):
        return []
    return [
        Penalties(
            prompt_tokens,
            sampling.presence_penalty,
            sampling.frequency_penalty,
            resolved.repetition_penalty,
            dict(sampling.logit_bias),
        )
    ]
