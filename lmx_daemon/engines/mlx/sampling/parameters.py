"""Sampling parameters: defaults are filled in, and values without a meaning for the model are refused.

Plain numbers only; the sampler does the arithmetic on a whole batch.
"""

from dataclasses import dataclass, field
from typing import Any

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.requests import Generate, Sampling
from lmx_daemon.contract.generation.sampling_defaults import default_of

GREEDY_BELOW = 1e-5
"""Temperature below which the likeliest token is taken, since division by it would overflow."""
MAX_STOPS = 64
"""Stop strings of one request."""
MAX_STOP_CHARACTERS = 1024


@dataclass(frozen=True)
class SamplingParams:
    """Sampling parameters of a row, after defaults."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: dict[int, float] = field(default_factory=dict)
    seed: int = 0
    choice: int = 0
    """Index of the row among the choices of its request."""
    top_logprobs: int | None = None
    """Number of likeliest tokens reported with each token: 0 for the sampled one alone, None for none at all."""

    @property
    def greedy(self) -> bool:
        """Return whether the likeliest token is always taken."""
        return self.temperature < GREEDY_BELOW

    @property
    def filtered(self) -> bool:
        """Return whether some tokens are excluded."""
        return self.top_p < 1.0 or self.top_k > 0 or self.min_p > 0.0

    @property
    def penalised(self) -> bool:
        """Return whether earlier tokens change the logits."""
        return bool(self.repetition_penalty != 1.0 or self.presence_penalty or self.frequency_penalty)


GREEDY = SamplingParams()
"""Parameters that take the likeliest token."""


def resolve(sampling: Sampling, defaults: dict[str, Any]) -> SamplingParams:
    """Return the request's values, else those of the model's generation_config.json (`defaults`), else neutral ones."""

    def pick(name: str) -> float:
        asked: float | None = getattr(sampling, name)
        return default_of(name, defaults) if asked is None else asked

    return SamplingParams(
        temperature=float(pick("temperature")),
        top_p=float(pick("top_p")),
        top_k=int(pick("top_k")),
        min_p=float(pick("min_p")),
        repetition_penalty=1.0 if sampling.repetition_penalty is None else sampling.repetition_penalty,
        presence_penalty=sampling.presence_penalty or 0.0,
        frequency_penalty=sampling.frequency_penalty or 0.0,
        bias=dict(sampling.logit_bias),
    )


def check(request: Generate, vocabulary: int) -> None:
    """Raise RequestError for a value that this model cannot apply, or that would slow down all other requests."""
    for name, tokens in (("logit_bias", request.sampling.logit_bias), ("stop_token_ids", request.stop_tokens)):
        for token in tokens:
            if not 0 <= token < vocabulary:
                raise RequestError(
                    f"{name} names token {token}; this model has tokens 0 to {vocabulary - 1}", param=name
                )
    if len(request.stop) > MAX_STOPS:
        raise RequestError(f"stop: at most {MAX_STOPS} strings, not {len(request.stop)}", param="stop")
    if any(len(text) > MAX_STOP_CHARACTERS for text in request.stop):
        raise RequestError(f"stop: each string has at most {MAX_STOP_CHARACTERS} characters", param="stop")
