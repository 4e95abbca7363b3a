"""Log-probabilities of given tokens, and of the likeliest ones, from logits. Engine thread only."""

import mlx.core as mx


def log_probabilities(logits: mx.array) -> mx.array:
    """Return the log-probabilities of all tokens [rows, vocabulary] in float32."""
    logits = logits.astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def chosen_and_likeliest(logprobs: mx.array, tokens: mx.array, most: int) -> tuple[mx.array, mx.array, mx.array]:
    """Return the log-probabilities of `tokens` [rows], the `most` likeliest tokens, and their log-probabilities.

    The last two are [rows, most], in descending order.
    """
    chosen = mx.take_along_axis(logprobs, tokens[:, None], axis=-1)[:, 0]
    likeliest = _likeliest(logprobs, min(most, logprobs.shape[-1]))
    return chosen, likeliest, mx.take_along_axis(logprobs, likeliest, axis=-1)


def _likeliest(logprobs: mx.array, most: int) -> mx.array:
    if most <= 1:  # a partition takes ten times as long
        return mx.argmax(logprobs, axis=-1, keepdims=True)[:, :most]
    found = mx.argpartition(-logprobs, kth=most - 1, axis=-1)[:, :most]  # sorting all takes several times as long
    order = mx.argsort(-mx.take_along_axis(logprobs, found, axis=-1), axis=-1)
    return mx.take_along_axis(found, order, axis=-1)
