"""Comparison of the engine's step with mlx-lm's BatchGenerator in one process: rates, pauses and cache bytes.

    LD_PRELOAD=libopenblas.so.0 OPENBLAS_NUM_THREADS=1 python scripts/bench_engine.py [tiny|small] [part ...]

The models have random weights in float32: tiny has 4 M parameters, small has 27 M. Each figure is the median of rounds
in which both engines are measured in turn.
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

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.batch.warm_up import warm_up
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


class LmxEngine:
    """Batch of lmx."""

    name = "lmx"

    def __init__(self, model: Any, token_bytes: int) -> None:
        self.token_bytes = token_bytes
        self.batch = Batch(model, set(), prefill_step=512)
        warm_up(self.batch)

    def add(self, tokens: list[int], answer: int, sampled: SamplingParams | None = None, seed: int = 0) -> Any:
        return self.batch.add(tokens, [Row(answer, replace(sampled, seed=seed) if sampled else GREEDY)])[0]

    def step(self) -> list[tuple[Any, bool]]:
        return [(token.row, token.reason is not None) for token in self.batch.step().tokens]

    @property
    def bytes(self) -> int:
        return self.batch.cache_bytes

    def drain(self) -> None:
        while self.batch.busy:
            self.step()


class MlxLmEngine:
    """BatchGenerator of mlx-lm behind the same methods."""

    name = "mlx-lm"

    def __init__(self, model: Any, token_bytes: int) -> None:
        self.token_bytes = token_bytes
        self.batch = BatchGenerator(model, completion_batch_size=32, prefill_batch_size=8, prefill_step_size=512)

    def add(self, tokens: list[int], answer: int, sampled: SamplingParams | None = None, seed: int = 0) -> Any:
        sampler = make_sampler(sampled.temperature, top_p=sampled.top_p) if sampled else None
        return int(self.batch.insert([tokens], max_tokens=[answer], samplers=[sampler])[0])  # type: ignore[list-item]

    def step(self) -> list[tuple[Any, bool]]:
        return [(found.uid, found.finish_reason is not None) for found in self.batch.next()[1]]

    @property
    def bytes(self) -> int:
        return int(self.batch.prompt_cache_nbytes)

    def drain(self) -> None:
        while self.step():
            pass


MeasuredEngine = LmxEngine | MlxLmEngine


def in_turn(
    engines: list[MeasuredEngine], measure: Callable[[MeasuredEngine], float], rounds: int = ROUNDS
) -> dict[str, float]:
    found: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            found[engine.name].append(measure(engine))
    return {name: statistics.median(values) for name, values in found.items()}


def rate(engine: MeasuredEngine, streams: int, answer: int = 96, sampled: SamplingParams | None = None) -> float:
    """Return tokens per second over all streams, including their prompts of 64 tokens."""
    begun, left = time.perf_counter(), streams
    for index in range(streams):
        engine.add(prompt(index, 64), answer, sampled, seed=index)
    while left:
        left -= sum(over for _, over in engine.step())
    return streams * answer / (time.perf_counter() - begun)


def report(label: str, found: dict[str, float], unit: str) -> None:
    ours, theirs = found["lmx"], found["mlx-lm"]
    print(f"{label:<46} lmx {ours:9.1f}   mlx-lm {theirs:9.1f} {unit:<6} ratio {ours / theirs:.2f}", flush=True)


def decode(engines: list[MeasuredEngine]) -> None:
    for streams in (1, 4, 16, 32):
        report(f"greedy, {streams} streams", in_turn(engines, lambda engine: rate(engine, streams)), "tok/s")  # noqa: B023


def sampled(engines: list[MeasuredEngine]) -> None:
    for label, parameters in (
        ("temperature 0.7", SamplingParams(temperature=0.7)),
        ("temperature 0.7, top_p 0.95", SamplingParams(temperature=0.7, top_p=0.95)),
    ):
        for streams in (16, 32):
            mine: dict[str, list[float]] = {"lmx": [], "mlx-lm": []}
            for _ in range(ROUNDS):  # paired with greedy runs of lmx
                mine["mlx-lm"].append(rate(engines[0], streams))
                mine["lmx"].append(rate(engines[0], streams, sampled=parameters))
            ratio = statistics.median(mine["lmx"]) / statistics.median(mine["mlx-lm"])
            rates = in_turn(engines, lambda engine: rate(engine, streams, sampled=parameters))  # noqa: B023
            report(f"{label}, {streams} streams", rates, "tok/s")
            print(f"{'':<46} of greedy {ratio:.2f}", flush=True)


def pauses(engines: list[MeasuredEngine]) -> None:
    """Print the gaps of four streams while prompts of 1500, 3000 and then 48 tokens arrive."""
    for engine in engines:
        gaps: list[float] = []
        first: dict[Any, float] = {}
        streams = [engine.add(prompt(index, 32), 4000) for index in range(4)]
        seen = dict.fromkeys(streams, 0.0)
        count = 0
        while count < 40:
            count += len(engine.step())
        arrived = time.perf_counter()
        seen = dict.fromkeys(streams, arrived)
        late = [engine.add(prompt(8, 1500), 4000), engine.add(prompt(9, 3000), 4000)]
        short, sent = None, arrived + 0.3
        while len(first) < 3:
            if short is None and time.perf_counter() > sent:
                short, sent = engine.add(prompt(10, 48), 4000), time.perf_counter()
            for row, _ in engine.step():
                now = time.perf_counter()
                if row in seen:
                    gaps.append(now - seen[row])
                    seen[row] = now
                elif row not in first:
                    first[row] = now - (sent if row == short else arrived)
        gaps.sort()
        print(
            f"{engine.name:<8} gaps p50 {gaps[len(gaps) // 2]:.3f} p99 {gaps[int(len(gaps) * 0.99)]:.3f} "
            f"longest {gaps[-1]:.3f} s; first token after {first[late[0]]:.2f} s (1500), "
            f"{first[late[1]]:.2f} s (3000), {first[short]:.2f} s (48 tokens, behind them)",
            flush=True,
        )
        engine.batch.remove([*streams, *late, short])


def lengths(engines: list[MeasuredEngine]) -> None:
    """Print the KV cache bytes of a long and 31 short rows relative to their tokens, and the rate of mixed lengths."""
    for engine in engines:
        for index in range(32):
            engine.add(prompt(index, 4096 if index == 0 else 64), 96)
        rows = count = 0
        while rows < 32:
            rows = len(engine.step())
        mx.reset_peak_memory()
        before, begun = mx.get_active_memory(), time.perf_counter()
        while count < 640:
            count += len(engine.step())
        seconds, held = time.perf_counter() - begun, engine.bytes
        ideal = (4096 + 31 * 64 + 32 * 20) * engine.token_bytes
        print(
            f"{engine.name:<8} 4096 with 31 of 64: {held / 1e6:.0f} MB, {held / ideal:.2f} of ideal; peak above "
            f"{(mx.get_peak_memory() - before) / 1e6:.0f} MB; {count / seconds:.0f} tok/s",
            flush=True,
        )
        engine.drain()

    def mixed(engine: MeasuredEngine) -> float:
        for index in range(16):
            engine.add(prompt(index, (64, 200, 500, 1200)[index % 4]), 64)
        rows = count = 0
        while rows < 16:
            rows = len(engine.step())
        begun = time.perf_counter()
        while count < 480:
            count += len(engine.step())
        seconds = time.perf_counter() - begun
        engine.drain()
        return count / seconds

    report("16 streams of 64, 200, 500 and 1200 tokens", in_turn(engines, mixed, 3), "tok/s")


def main() -> None:
    size = next((name for name in sys.argv[1:] if name in SIZES), "tiny")
    parts = [name for name in sys.argv[1:] if name in PARTS] or PARTS
    with tempfile.TemporaryDirectory() as folder:
        model, _ = load_model(build_model("qwen3", Path(folder), ends=False, **(COMMON | SIZES[size])))
    token_bytes = 2 * 4 * COMMON["num_key_value_heads"] * SIZES[size]["num_hidden_layers"] * SIZES[size]["head_dim"]
    engines: list[MeasuredEngine] = [LmxEngine(model, token_bytes), MlxLmEngine(model, token_bytes)]
    print(f"{size}: {'OpenBLAS' if 'openblas' in Path('/proc/self/maps').read_text() else 'no OpenBLAS'}", flush=True)
    for part in parts:
        {"decode": decode, "sampled": sampled, "pauses": pauses, "lengths": lengths}[part](engines)


if __name__ == "__main__":
    main()
