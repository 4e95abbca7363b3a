"""The engine's step beside mlx-lm's BatchGenerator, in one process and one run: rates, pauses, bytes, as ratios.

    LD_PRELOAD=libopenblas.so.0 OPENBLAS_NUM_THREADS=1 python scripts/bench_engine.py [tiny|small] [part ...]

Two sizes with random weights: tiny (4 M parameters) and small (27 M), float32. Each figure is the median of rounds in
which both sides are measured in turn.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.sample_utils import make_sampler
from mlx_lm.utils import load_model

from lmx_daemon.engines.mlx.batch.batch import Batch, warm_up
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams
from tests.models import build_model

ROUNDS = 5
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 768, "head_dim": 32},
    "small": {"hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1536, "head_dim": 64},
}
COMMON = {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 4096}
PARTS = ("decode", "sampled", "pauses", "lengths")


def prompt(index: int, length: int) -> list[int]:
    return [(7 * index + j * (index + 3)) % 4000 + 3 for j in range(length)]


class Ours:
    name = "lmx"

    def __init__(self, model: Any, token_bytes: int) -> None:
        self.token_bytes = token_bytes
        self.batch = Batch(model, set(), prefill_step=512)
        warm_up(self.batch)

    def add(self, tokens: list[int], answer: int, sampled: SamplingParams | None = None, seed: int = 0) -> int:
        return self.batch.add(tokens, [Row(answer, replace(sampled, seed=seed) if sampled else GREEDY)])[0]

    def step(self) -> list[tuple[int, bool]]:
        return [(token.row, token.reason is not None) for token in self.batch.step().tokens]

    @property
    def bytes(self) -> int:
        return self.batch.cache_bytes

    def drain(self) -> None:
        while self.batch.busy:
            self.step()


class Theirs:
    name = "mlx-lm"

    def __init__(self, model: Any, token_bytes: int) -> None:
        self.token_bytes = token_bytes
        self.batch = BatchGenerator(model, completion_batch_size=32, prefill_batch_size=8, prefill_step_size=512)

    def add(self, tokens: list[int], answer: int, sampled: SamplingParams | None = None, seed: int = 0) -> int:
        sampler = make_sampler(sampled.temperature, top_p=sampled.top_p) if sampled else None
        return int(self.batch.insert([tokens], max_tokens=[answer], samplers=[sampler])[0])  # type: ignore[list-item]

    def step(self) -> list[tuple[int, bool]]:
        return [(found.uid, found.finish_reason is not None) for found in self.batch.next()[1]]

    @property
    def bytes(self) -> int:
        return int(self.batch.prompt_cache_nbytes)

    def drain(self) -> None:
        while self.step():
            pass


Side = Ours | Theirs


def in_turn(sides: list[Side], measure: Callable[[Side], float], rounds: int = ROUNDS) -> dict[str, float]:
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            found[side.name].append(measure(side))
    return {name: statistics.median(values) for name, values in found.items()}


def rate(side: Side, streams: int, answer: int = 96, sampled: SamplingParams | None = None) -> float:
    """Tokens a second over all streams, prompts of 64 included."""
    begun, left = time.perf_counter(), streams
    for index in range(streams):
        side.add(prompt(index, 64), answer, sampled, seed=index)
    while left:
        left -= sum(over for _, over in side.step())
    return streams * answer / (time.perf_counter() - begun)


def say(label: str, found: dict[str, float], unit: str) -> None:
    ours, theirs = found["lmx"], found["mlx-lm"]
    print(f"{label:<46} lmx {ours:9.1f}   mlx-lm {theirs:9.1f} {unit:<6} ratio {ours / theirs:.2f}", flush=True)


def decode(sides: list[Side]) -> None:
    for streams in (1, 4, 16, 32):
        say(f"greedy, {streams} streams", in_turn(sides, lambda side: rate(side, streams)), "tok/s")  # noqa: B023


def sampled(sides: list[Side]) -> None:
    for label, asked in (
        ("temperature 0.7", SamplingParams(temperature=0.7)),
        ("temperature 0.7, top_p 0.95", SamplingParams(temperature=0.7, top_p=0.95)),
    ):
        for streams in (16, 32):
            mine: dict[str, list[float]] = {"lmx": [], "mlx-lm": []}
            for _ in range(ROUNDS):  # each beside our own greedy too
                mine["mlx-lm"].append(rate(sides[0], streams))
                mine["lmx"].append(rate(sides[0], streams, sampled=asked))
            ratio = statistics.median(mine["lmx"]) / statistics.median(mine["mlx-lm"])
            say(f"{label}, {streams} streams", in_turn(sides, lambda s: rate(s, streams, sampled=asked)), "tok/s")  # noqa: B023
            print(f"{'':<46} of our own greedy {ratio:.2f}", flush=True)


def pauses(sides: list[Side]) -> None:
    """Four running streams while 1500 and 3000 tokens arrive, and a short prompt behind them."""
    for side in sides:
        gaps: list[float] = []
        first: dict[int, float] = {}
        streams = [side.add(prompt(index, 32), 4000) for index in range(4)]
        seen = dict.fromkeys(streams, 0.0)
        count = 0
        while count < 40:
            count += len(side.step())
        arrived = time.perf_counter()
        seen = dict.fromkeys(streams, arrived)
        late = [side.add(prompt(8, 1500), 4000), side.add(prompt(9, 3000), 4000)]
        short, asked = -1, arrived + 0.3
        while len(first) < 3:
            if short < 0 and time.perf_counter() > asked:
                short, asked = side.add(prompt(10, 48), 4000), time.perf_counter()
            for row, _ in side.step():
                now = time.perf_counter()
                if row in seen:
                    gaps.append(now - seen[row])
                    seen[row] = now
                elif row not in first:
                    first[row] = now - (asked if row == short else arrived)
        gaps.sort()
        print(
            f"{side.name:<8} gaps p50 {gaps[len(gaps) // 2]:.3f} p99 {gaps[int(len(gaps) * 0.99)]:.3f} "
            f"longest {gaps[-1]:.3f} s; first token after {first[late[0]]:.2f} s (1500), "
            f"{first[late[1]]:.2f} s (3000), {first[short]:.2f} s (48 tokens, behind them)",
            flush=True,
        )
        side.batch.remove([*streams, *late, short])


def lengths(sides: list[Side]) -> None:
    """Bytes of keys and values, over what the tokens need: one long row with 31 short. Then four lengths at once."""
    for side in sides:
        for index in range(32):
            side.add(prompt(index, 4096 if index == 0 else 64), 96)
        rows = count = 0
        while rows < 32:
            rows = len(side.step())
        mx.reset_peak_memory()
        before, begun = mx.get_active_memory(), time.perf_counter()
        while count < 640:
            count += len(side.step())
        seconds, held = time.perf_counter() - begun, side.bytes
        ideal = (4096 + 31 * 64 + 32 * 20) * side.token_bytes
        print(
            f"{side.name:<8} 4096 with 31 of 64: {held / 1e6:.0f} MB, {held / ideal:.2f} of ideal; peak above "
            f"{(mx.get_peak_memory() - before) / 1e6:.0f} MB; {count / seconds:.0f} tok/s",
            flush=True,
        )
        side.drain()

    def mixed(side: Side) -> float:
        for index in range(16):
            side.add(prompt(index, (64, 200, 500, 1200)[index % 4]), 64)
        rows = count = 0
        while rows < 16:
            rows = len(side.step())
        begun = time.perf_counter()
        while count < 480:
            count += len(side.step())
        seconds = time.perf_counter() - begun
        side.drain()
        return count / seconds

    say("16 streams of 64, 200, 500 and 1200 tokens", in_turn(sides, mixed, 3), "tok/s")


def main() -> None:
    size = next((name for name in sys.argv[1:] if name in SIZES), "tiny")
    parts = [name for name in sys.argv[1:] if name in PARTS] or PARTS
    with tempfile.TemporaryDirectory() as folder:
        model, _ = load_model(build_model("qwen3", Path(folder), ends=False, **(COMMON | SIZES[size])))
    token_bytes = 2 * 4 * COMMON["num_key_value_heads"] * SIZES[size]["num_hidden_layers"] * SIZES[size]["head_dim"]
    sides: list[Side] = [Ours(model, token_bytes), Theirs(model, token_bytes)]
    print(f"{size}: {'OpenBLAS' if 'openblas' in Path('/proc/self/maps').read_text() else 'no OpenBLAS'}", flush=True)
    for part in parts:
        {"decode": decode, "sampled": sampled, "pauses": pauses, "lengths": lengths}[part](sides)


if __name__ == "__main__":
    main()
