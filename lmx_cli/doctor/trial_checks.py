"""The checks of `lmx doctor --engine`: pure functions from the figures of a trial to a state and a message."""

from collections.abc import Sequence

from lmx_cli.doctor.checks import CheckResult
from lmx_cli.doctor.trial_answers import MAX_ROUNDING, Comparison
from lmx_daemon.contract.units import size

REPORT = "report it, with: lmx doctor --engine --report FILE"
RETURNED = 0.1
"""Share of the memory of cancelled streams that may still be in use afterwards."""
LONG_GAP = 1.0
"""Seconds without a token that are noticed when a stream is read."""
SLOW = 0.7
"""Ratio to mlx-lm below which the check warns. The load of a busy machine alone costs less."""


def batch_check(found: Comparison, together: int) -> CheckResult:
    """Return the check of answers that were computed alone and in one batch."""
    figures = {"answers": found.answers, "equal": found.equal, "together": together, "difference": found.rounding}
    message = f"{_equal(found)} in a batch and alone, up to {together} at once"
    if not found.sound:
        return CheckResult("engine: batch", "failed", message, REPORT, figures)
    if together < 2:
        return CheckResult("engine: batch", "warning", message, "the answers did not overlap; run it again", figures)
    return CheckResult("engine: batch", "ok", message, figures=figures)


def cache_check(found: Comparison, prompt: int, cached: int, cold: float, warm: float) -> CheckResult:
    """Return the check of an answer with a stored prefix; `cold` and `warm` are seconds to the first token."""
    figures = {
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "difference": found.rounding,
        "first_token_cold_seconds": cold,
        "first_token_cached_seconds": warm,
    }
    message = (
        f"{cached} of {prompt} tokens from the cache, first token after {_time(warm)}, {_time(cold)} without; "
        f"{_equal(found)} with it and without"
    )
    failed = not found.sound or cached == 0
    return CheckResult("engine: cache", "failed" if failed else "ok", message, REPORT if failed else "", figures)


def memory_check(base: int, highest: int, after: int, seconds: float) -> CheckResult:
    """Return the check of cancelled streams.

    `base`, `highest` and `after` are bytes of MLX before, during and after the streams, without stored prefixes.
    """
    taken, left = highest - base, max(0, after - base)
    figures = {"taken_bytes": taken, "left_bytes": left, "seconds": seconds}
    message = f"cancelled streams used {size(taken)}; {size(left)} of it was in use {seconds:.1f} s later"
    if taken <= 0:
        message = "the memory of the cancelled streams was not measured in time"
        return CheckResult("engine: cancel", "warning", message, "run it again", figures)
    failed = not returned(base, highest, after)
    return CheckResult("engine: cancel", "failed" if failed else "ok", message, REPORT if failed else "", figures)


def returned(base: int, highest: int, after: int) -> bool:
    """Return whether the memory that was taken above `base` is free again."""
    return after - base <= RETURNED * (highest - base)


def stall_check(prompt: int, prefill: float, gaps: Sequence[float], usual: float) -> CheckResult:
    """Return the check of a stream beside a long prompt.

    `gaps` are the seconds between tokens of the stream in the `prefill` seconds of the prompt; `usual` is the mean gap
    before them.
    """
    longest = max(gaps, default=prefill)
    figures = {
        "prompt_tokens": prompt,
        "prefill_seconds": prefill,
        "gaps": len(gaps),
        "longest_gap_seconds": longest,
        "usual_gap_seconds": usual,
    }
    message = (
        f"a prompt of {prompt} tokens took {_time(prefill)}; a stream beside it had {len(gaps)} pieces meanwhile, "
        f"longest gap {_time(longest)}, before {_time(usual)}"
    )
    if len(gaps) < 2:
        return CheckResult("engine: long prompt", "failed", message, REPORT, figures)
    if longest > LONG_GAP:
        advice = "lower engine.prefill_step, or see whether the machine is busy"
        return CheckResult("engine: long prompt", "warning", message, advice, figures)
    return CheckResult("engine: long prompt", "ok", message, figures=figures)


def rate_check(own: dict[int, float], bare: dict[int, float]) -> CheckResult:
    """Return the check of the speed: tokens per second of lmx and of mlx-lm, by the number of streams."""
    figures = {f"lmx_{streams}_streams_tokens_per_second": rate for streams, rate in own.items()}
    figures |= {f"mlx_lm_{streams}_streams_tokens_per_second": rate for streams, rate in bare.items()}
    message = "; ".join(
        f"{_streams(streams)}: {own[streams]:.0f} tok/s, {ratio:.2f} of mlx-lm in process ({bare[streams]:.0f})"
        for streams, ratio in ((streams, own[streams] / bare[streams]) for streams in own)
    )
    slow = any(own[streams] < SLOW * bare[streams] for streams in own)
    advice = "run it again on an idle machine; if the result is the same, report it" if slow else ""
    return CheckResult("engine: speed", "warning" if slow else "ok", message, advice, figures)


def _equal(found: Comparison) -> str:
    text = f"{found.equal} of {found.answers} answers equal"
    if found.equal == found.answers:
        return text
    if found.sound:
        return f"{text} (the others differ by rounding, {found.rounding:.3f} of a probability)"
    return f"{text} (a probability differs by {found.rounding:.2f}; rounding explains {MAX_ROUNDING})"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _streams(count: int) -> str:
    return f"{count} stream" if count == 1 else f"{count} streams"
