"""From answers to figures: percentiles, one round's Measurement, medians over rounds, ratios. Pure."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lmx_cli.bench.wire import TimedResponse
from lmx_daemon.storage.benchmark import Measurement, ServerResult, Spread


@dataclass(frozen=True)
class Sample:
    """What a workload did under one name in one round."""

    name: str
    answers: Sequence[TimedResponse]
    window: tuple[float, float] | None = None
    """Only gaps that reach into it count; None counts all."""
    streams: int = 1
    prompt_tokens: int = 0
    answer_tokens: int = 0


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Nearest rank: the smallest of the ordered values that at least `fraction` of them do not exceed."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def spread(values: Iterable[float]) -> Spread | None:
    ordered = sorted(values)
    if not ordered:
        return None
    p50, p95, p99 = (percentile(ordered, fraction) for fraction in (0.5, 0.95, 0.99))
    return Spread(p50=p50, p95=p95, p99=p99, longest=ordered[-1], count=len(ordered))


def gaps(answer: TimedResponse, window: tuple[float, float] | None = None) -> list[float]:
    """Seconds between pieces. A gap that a window cuts counts whole: it is what the reader saw."""
    pairs = list(pairwise(answer.pieces))
    if window is not None:
        begin, end = window
        pairs = [(earlier, later) for earlier, later in pairs if later > begin and earlier < end]
        if answer.cut and answer.pieces and answer.pieces[-1] < end:
            pairs.append((answer.pieces[-1], end))  # it was still waiting: the gap is at least so long
    return [later - earlier for earlier, later in pairs]


def measure(sample: Sample, memory: int | None = None) -> Measurement:
    """One round of one test. Answers that were cut short on purpose count for gaps, not as errors."""
    answers = sample.answers
    good = [answer for answer in answers if answer.error is None]
    ends = [answer.ended for answer in good if answer.ended]
    seconds = max(ends) - min(answer.sent for answer in answers) if ends else 0.0
    whole = [answer for answer in good if not answer.cut]
    tokens = sum(answer.tokens for answer in whole)
    return Measurement(
        requests=len(answers),
        errors=len(answers) - len(good),
        seconds=seconds,
        prompt_tokens=sum(answer.prompt_tokens for answer in whole),
        cached_tokens=sum(answer.cached_tokens for answer in whole),
        tokens=tokens,
        rate=tokens / seconds if sample.window is None and tokens and seconds > 0 else None,
        first_token=spread(answer.pieces[0] - answer.sent for answer in good if answer.pieces),
        gap=spread(gap for answer in good for gap in gaps(answer, sample.window)),
        memory=memory,
        error=next((answer.error for answer in answers if answer.error is not None), None),
    )


def median_of(rounds: Sequence[Measurement]) -> Measurement:
    """Medians of what is measured, sums of what is counted, the highest memory."""
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


Figure = Callable[[Measurement], float | None]


def ratio(first: ServerResult, second: ServerResult, figure: Figure) -> float | None:
    """The median over rounds of first / second: rounds that ran side by side are compared with each other."""
    found = []
    for one, other in zip(first.rounds, second.rounds, strict=False):
        mine, theirs = figure(one), figure(other)
        if mine is not None and theirs:
            found.append(mine / theirs)
    return statistics.median(found) if found else None


def rate(measured: Measurement) -> float | None:
    return measured.rate


def first_token(point: str) -> Figure:
    return lambda measured: None if measured.first_token is None else getattr(measured.first_token, point)


def gap(point: str) -> Figure:
    return lambda measured: None if measured.gap is None else getattr(measured.gap, point)
