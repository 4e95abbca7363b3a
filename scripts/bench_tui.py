"""Benchmark of the TUI in a pseudo-terminal: time to the first frame, and CPU while it streams, draws or idles.

    python scripts/bench_tui.py [--seconds 4] [--idle]

The idle rows use a real daemon, whose snapshots arrive twice a second while nothing changes. `--idle` measures only
these rows. The other rows use a scripted client, so that only the TUI is measured. Run the script on an idle machine.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

SIZE = (120, 40)
CTRL_Q = b"\x11"
F3, F4 = b"\x1bOR", b"\x1bOS"
WORDS = "Prompt caching skips work that batching only shares, so the **first token** comes `sooner`. "
OLD_TOKENS = 18_000
SETTLE_SECONDS = 3.0
FRAME = b"\x1b[?2026h"
IDLE_SCREENS = {"models, idle daemon": b"\x1bOQ", "chat, idle daemon": F3, "monitor, idle daemon": F4}


def prose(tokens: int) -> str:
    """Return about `tokens` tokens of text with paragraphs, lists and code."""
    paragraphs = [WORDS * 4, "- one\n- two `x`\n- three", WORDS * 3, "```python\ndef f(x):\n    return [x]\n```"]
    text, count = [], 0
    while count < tokens:
        part = paragraphs[len(text) % len(paragraphs)]
        text.append(part)
        count += max(8, len(part) // 4)
    return "\n\n".join(text)


def child(rate: int, old: int, hertz: float) -> None:  # long: the scripted client reads the arguments
    """Run the TUI with a client that generates `rate` tokens and sends `hertz` snapshots per second.

    The first request is answered with `old` tokens at once.
    """
    from lmx_daemon.contract.admin.snapshot import Series, Snapshot
    from lmx_daemon.contract.generation.events import Delta, Event, Started
    from lmx_daemon.contract.generation.requests import Generate, Request
    from lmx_daemon.settings.schema import Settings
    from lmx_tui.app import LmxApp
    from tests.fake_client import FakeClient
    from tests.screen_states import answer_of, busy_snapshot, finished

    class ScriptedClient(FakeClient):
        async def watch(self) -> AsyncIterator[Snapshot]:
            number = 0
            while True:
                whole = busy_snapshot()
                shift = int(number / max(hertz, 1.0)) % 300
                lists = (whole.series.memory, whole.series.decode, whole.series.prefill)
                memory, decode, prefill = (values[shift:] + values[:shift] for values in lists)
                yield busy_snapshot(series=Series(memory=memory, decode=decode, prefill=prefill))
                number += 1
                await asyncio.sleep(1 / hertz if hertz else 1000)

        async def generate(self, request: Request) -> AsyncIterator[Event]:
            assert isinstance(request, Generate)
            if old and not self.requests_seen:
                self.requests_seen.append(request)
                for event in answer_of(prose(old), pieces=4):
                    yield event
                return
            yield Started(id=request.id, prompt_tokens=10, cached_tokens=0, seed=1, context_length=40960)
            text, begun, sent = prose(20_000), time.monotonic(), 0
            while sent * 4 < len(text):
                due = int((time.monotonic() - begun) * rate)
                for _ in range(max(0, due - sent)):
                    yield Delta(id=request.id, content=text[sent * 4 : sent * 4 + 4], tokens=1)
                    sent += 1
                await asyncio.sleep(0.01)
            yield finished()

    LmxApp(ScriptedClient(busy_snapshot()), Settings(), version="0.0.0").run()


def measure_idle(seconds: float) -> None:
    """Print bytes and CPU of each screen over a real daemon that has the built-in model in memory."""
    import psutil

    from tests.end_to_end.running import LMX, Daemon
    from tests.pty_harness import Terminal

    daemon = Daemon().start()
    try:
        assert daemon.lmx("load", "lmx/guide").returncode == 0
        for name, key in IDLE_SCREENS.items():
            with Terminal([*LMX, "tui"], size=SIZE, environment=daemon.env()) as terminal:
                terminal.until(lambda text: "guide" in text)
                terminal.type(key)
                terminal.read(SETTLE_SECONDS)
                process, before = psutil.Process(terminal.pid), len(terminal.output)
                begun, used = time.monotonic(), sum(process.cpu_times()[:2])
                terminal.read(seconds)
                wall, used = time.monotonic() - begun, sum(process.cpu_times()[:2]) - used
                written = (len(terminal.output) - before) / wall / 1000
                memory = process.memory_info().rss / 1e6
                frames = terminal.output[before:].count(FRAME) / wall
                print(f"{name:<44} {'':>9} {used / wall:>6.1%} {frames:>6.1f} {written:>7.2f} {memory:>6.0f}")
                terminal.type(CTRL_Q)
                terminal.wait()
    finally:
        daemon.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--child", nargs=3, type=float, metavar=("RATE", "OLD", "HERTZ"))
    options = parser.parse_args()
    if options.child:
        child(int(options.child[0]), int(options.child[1]), options.child[2])
        return
    from tests.pty_harness import run

    def measure(name: str, rate: int, old: int, hertz: float, keys: list[tuple[float, bytes]]) -> None:
        """Print one row. The figures are those of a whole run minus those of a run that quits when measuring starts."""
        command = [sys.executable, str(ROOT / "scripts/bench_tui.py"), "--child", str(rate), str(old), str(hertz)]
        ready = (keys[-1][0] if keys else 0.0) + 1.0
        end = ready + options.seconds
        start = run(command, size=SIZE, keys=[*keys, (ready, CTRL_Q)])
        whole = run(command, size=SIZE, keys=[*keys, (end, CTRL_Q)])
        seconds = options.seconds
        cpu = max(0.0, whole.cpu - start.cpu) / seconds
        kilobytes = max(0, whole.written - start.written) / seconds / 1000
        frames = max(0, whole.frames - start.frames) / seconds
        first = f"{(whole.first_frame or 0) * 1000:.0f} ms"
        print(f"{name:<44} {first:>9} {cpu:>6.1%} {frames:>6.1f} {kilobytes:>7.1f} {whole.peak_bytes / 1e6:>6.0f}")

    print(f"{'':<44} {'1st frame':>9} {'CPU':>6} {'fps':>6} {'kB/s':>7} {'MB':>6}")
    measure_idle(options.seconds)
    if options.idle:
        return
    chat = [(0.5, F3), (1.0, b"a"), (1.2, b"\r")]
    again = [(3.5, b"b"), (3.7, b"\r")]
    measure("monitor, 2 snapshots a second", 0, 0, 2, [(0.5, F4)])
    measure("monitor, 4 snapshots a second", 0, 0, 4, [(0.5, F4)])
    measure("chat, 100 tok/s", 100, 0, 2, chat)
    measure("chat, 500 tok/s", 500, 0, 2, chat)
    measure(f"chat, 500 tok/s after {OLD_TOKENS // 1000}k tokens", 500, OLD_TOKENS, 2, [*chat, *again])


if __name__ == "__main__":
    main()
