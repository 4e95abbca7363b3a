"""Speeds over hours, computed from the records of requests, since the snapshot has samples of minutes only. Pure."""

from collections.abc import Iterator, Sequence
from statistics import quantiles

from lmx_daemon.contract.admin.history import RequestRecord

SAMPLES = 300
"""Number of samples of a window."""


def decode_series(records: Sequence[RequestRecord], now: float, window: int) -> tuple[float, ...]:
    """Return generated tokens per second in SAMPLES parts of the last `window` seconds."""
    return _series(_decodes(records), now, window)


def prefill_series(records: Sequence[RequestRecord], now: float, window: int) -> tuple[float, ...]:
    """Return computed prompt tokens per second in SAMPLES parts of the last `window` seconds."""
    return _series(_prefills(records), now, window)


def _decodes(records: Sequence[RequestRecord]) -> Iterator[tuple[float, float, int]]:
    """Yield (begin, seconds, tokens) of each decode."""
    for record in records:
        if record.decode and record.completion_tokens:
            yield record.at + (record.first_token or 0.0), record.decode, record.completion_tokens


def _prefills(records: Sequence[RequestRecord]) -> Iterator[tuple[float, float, int]]:
    for record in records:
        computed = (record.prompt_tokens or 0) - (record.cached_tokens or 0)
        if record.prefill and computed > 0:
            yield record.at + (record.queue or 0.0), record.prefill, computed


def _series(spans: Iterator[tuple[float, float, int]], now: float, window: int) -> tuple[float, ...]:
    """Return the tokens of all spans per second, each spread evenly over its time."""
    unit = window / SAMPLES
    since = now - window
    found = [0.0] * SAMPLES
    for begin, seconds, tokens in spans:
        first = max(0, int((begin - since) / unit)) if begin > since else 0
        last = min(SAMPLES - 1, int((begin + seconds - since) / unit))
        for index in range(first, last + 1):
            left, right = since + index * unit, since + (index + 1) * unit
            shared = max(0.0, min(right, begin + seconds) - max(left, begin))
            found[index] += tokens * shared / seconds / unit
    return tuple(found)


def percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the median and the 95th percentile, or None without values."""
    if not values:
        return None
    if len(values) == 1:
        return values[0], values[0]
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]
