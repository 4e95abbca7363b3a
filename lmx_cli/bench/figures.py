"""Figures computed from timed responses: percentiles, measurements of rounds, medians over rounds, ratios. Pure."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lmx_cli.bench.wire import TimedResponse
from lmx_daemon.storage.benchmark import Measurement, ServerResult, Spread


@dataclass(frozen=True)
class RoundResponses:
    """Responses that one round of a workload collected under one test name."""

    name: str
    responses: Sequence[TimedResponse]
    window: tuple[float, float] | None = None
    """Start and end of the time in which gaps count, on the clock of the responses. None counts all gaps."""
    streams: int = 1
    prompt_tokens: int = 0
    answer_tokens: int = 0


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `fraction` of the values do not exceed."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def spread(values: Iterable[float]) -> Spread | None:
    ordered = sorted(values)
    if not ordered:
        return None
    p50, p95, p99 = (percentile(ordered, fraction) for fraction in (0.5, 0.95, 0.99))
    return Spread(p50=p50, p95=p95, p99=p99, longest=ordered[-1], count=len(ordered))


def gaps(response: TimedResponse, window: tuple[float, float] | None = None) -> list[float]:
    """Return the seconds between consecutive pieces.

    A gap that overlaps `window` counts with its full length, because a reader of the stream waits for all of it.
    """
    pairs = list(pairwise(response.pieces))
    if window is not None:
        begin, end = window
        pairs = [(earlier, later) for earlier, later in pairs if later > begin and earlier < end]
        if response.cancelled and response.pieces and response.pieces[-1] < end:
            pairs.append((response.pieces[-1], end))  # lower bound: the next piece had not arrived by `end`
    return [later - earlier for earlier, later in pairs]


def measure(sample: RoundResponses, memory: int | None = None) -> Measurement:
    """Return the measurement of one round of one test.

    Responses that the workload cancelled contribute gaps. They count neither as errors nor towards token counts.
    """
    responses = sample.responses
    good = [response for response in responses if response.error is None]
    ends = [response.ended for response in good if response.ended]
    seconds = max(ends) - min(response.sent for response in responses) if ends else 0.0
    complete = [response for response in good if not response.cancelled]
    tokens = sum(response.tokens for response in complete)
    return Measurement(
        requests=len(responses),
        errors=len(responses) - len(good),
        seconds=seconds,
        prompt_tokens=sum(response.prompt_tokens for response in complete),
        cached_tokens=sum(response.cached_tokens for response in complete),
        tokens=tokens,
        rate=tokens / seconds if sample.window is None and tokens and seconds > 0 else None,
        first_token=spread(response.pieces[0] - response.sent for response in good if response.pieces),
        gap=spread(gap for response in good for gap in gaps(response, sample.window)),
        memory=memory,
        error=next((response.error for response in responses if response.error is not None), None),
    )


def median_of(rounds: Sequence[Measurement]) -> Measurement:
    """Return one measurement for all rounds: medians of times and rates, sums of counts, the maximum of memory."""
    memories = [found.memory for found in rounds if found.memory is not None]
    return Measurement(
        requests=sum(found.requests for found in rounds),
        errors=sum(found.errors for found in rounds),
        seconds=statistics.median(found.seconds for found in rounds),
        prompt_tokens=sum(found.prompt_tokens for found in rounds),
        cached_tokens=sum(found.cached_tokens for found in rounds),
        tokens=sum(found.tokens for found in rounds),
        rate=_median(found.rate for found in rounds),
        first_token=_median_spread([found.first_token for found in rounds]),
        gap=_median_spread([found.gap for found in rounds]),
        memory=max(memories, default=None),
        error=next((found.error for found in rounds if found.error is not None), None),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _median_spread(spreads: Sequence[Spread | None]) -> Spread | None:
    known = [found for found in spreads if found is not None]
    if not known:
        return None
    return Spread(
        p50=statistics.median(found.p50 for found in known),
        p95=statistics.median(found.p95 for found in known),
        p99=statistics.median(found.p99 for found in known),
        longest=statistics.median(found.longest for found in known),
        count=sum(found.count for found in known),
    )


Metric = Callable[[Measurement], float | None]


def ratio(first: ServerResult, second: ServerResult, figure: Metric) -> float | None:
    """Return the median over rounds of first / second, for rounds in which both servers have the figure.

    Rounds are compared pairwise because a disturbance of the machine affects both servers of a round.
    """
    found = []
    for one, other in zip(first.rounds, second.rounds, strict=False):
        mine, theirs = figure(one), figure(other)
        if mine is not None and theirs:
            found.append(mine / theirs)
    return statistics.median(found) if found else None


def rate(measurement: Measurement) -> float | None:
    return measurement.rate


def first_token(point: str) -> Metric:
    return lambda measured: None if measured.first_token is None else getattr(measured.first_token, point)


def gap(point: str) -> Metric:
    return lambda measured: None if measured.gap is None else getattr(measured.gap, point)
