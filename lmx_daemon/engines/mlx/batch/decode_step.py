"""A decode step of all rows past their prompt: its logits, and its tokens, read while the next step computes."""

from dataclasses import dataclass

import mlx.core as mx

from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.sampling.sampler import SampledTokens


@dataclass(eq=False)
class DecodeStep:
    """The newest step of the model: still computing, or read and the start of the next one."""

    rows: list[Row]
    logits: mx.array
    """[rows, vocabulary]"""
    positions: list[int]
    """Number of tokens that each row had generated before this step."""
    sampled: SampledTokens | None = None
    """None while the constraints of the rows wait for the previous tokens."""
    read: bool = False

    @property
    def tokens(self) -> mx.array:
        """The tokens [rows], which need not be computed yet."""
        assert self.sampled is not None
        return self.sampled.tokens

    def settle(self) -> None:
        """Wait for tokens that the host samples. Call before a graph that uses them is evaluated."""
        assert self.sampled is not None
        self.sampled.settle()
