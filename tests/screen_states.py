"""Snapshots and answers that tests and screenshots of the TUI show."""

import math
from typing import Any

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.admin.snapshot import Health, HostMemory, RequestRow, Series, Snapshot, Status
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, Started, Timings, ToolCallDelta, Usage
from lmx_daemon.contract.models import Incident, Instance, Model
from lmx_daemon.contract.worker.messages import Capabilities, MemoryUse

GB = 10**9
NOW = 1_800_000_000.0
QWEN = "mlx-community/Qwen3-8B-4bit"

GUIDE = Model(
    id="lmx/guide",
    path="/opt/lmx/guide",
    source="built-in",
    size=8_400_000,
    architecture="Qwen3",
    quantization="float32",
    parameters=2_100_000,
    context_length=2048,
    tools=True,
    thinking=True,
)
MODELS = (
    GUIDE,
    Model(
        id=QWEN,
        path="/models/hub/models--mlx-community--Qwen3-8B-4bit/snapshots/3f1c0d2a9b",
        source="hub",
        revision="3f1c0d2a9b77",
        verified_at=NOW - 3.2 * 86400,
        newer="9c41e7b05d2f",
        size=4_600_000_000,
        architecture="Qwen3",
        quantization="4-bit",
        parameters=8_190_000_000,
        context_length=40960,
        tools=True,
        thinking=True,
    ),
    Model(
        id="mlx-community/Qwen3-32B-4bit",
        path="/models/hub/models--mlx-community--Qwen3-32B-4bit/snapshots/77aa",
        source="hub",
        size=18_400_000_000,
        architecture="Qwen3",
        quantization="4-bit",
        parameters=32_800_000_000,
        context_length=32768,
        tools=True,
        thinking=True,
    ),
    Model(
        id="mlx-community/gemma-3-27b-it-qat-4bit",
        used_at=NOW - 5 * 3600,
        path="/models/hub/models--mlx-community--gemma-3-27b-it-qat-4bit/snapshots/99",
        source="hub",
        size=16_800_000_000,
        architecture="Gemma3",
        quantization="4-bit",
        parameters=27_000_000_000,
        context_length=131072,
        vision=True,
    ),
    Model(
        id="someone/odd[red]name[/red]",
        path="/models/odd",
        source="folder",
        size=1_200_000_000,
        problem="the repository carries code (modeling.py); lmx never runs it",
    ),
)
INSTANCES = (
    Instance(
        id="i1",
        model=QWEN,
        state="ready",
        pid=4711,
        capabilities=Capabilities(context_length=40960, tools=True, thinking=True),
        memory=MemoryUse(
            active=6 * GB, cache=GB // 2, peak=7 * GB, weights=46 * GB // 10, prefix_cache=GB, resident=7 * GB
        ),
        held=7 * GB,
        backend="metal, Apple M3 Max",
        loaded_at=NOW - 7200,
        load_seconds=1.94,
        used_at=NOW - 1,
        running=2,
        decode_rate=142.8,
        prefill_rate=2100.0,
    ),
    Instance(
        id="i2",
        model="mlx-community/Qwen3-32B-4bit",
        state="ready",
        pid=4712,
        capabilities=Capabilities(context_length=32768),
        memory=MemoryUse(active=18 * GB, peak=19 * GB, prefix_cache=GB, resident=191 * GB // 10),
        held=191 * GB // 10,
        backend="metal, Apple M3 Max",
        loaded_at=NOW - 1560,
        load_seconds=6.1,
        used_at=NOW - 240,
        expires_at=NOW + 1740,
    ),
)
REQUESTS = (
    RequestRow(
        id="tui-r81",
        model=QWEN,
        state="decode",
        client="lmx tui",
        route="/admin/generate",
        started_at=NOW - 3,
        age=3.1,
        prompt_tokens=4120,
        cached_tokens=3832,
        completion_tokens=214,
        rate=71.4,
        first_token=0.09,
    ),
    RequestRow(
        id="chat-r82",
        model=QWEN,
        state="decode",
        client="python-openai 3.1",
        route="/v1/chat/completions",
        started_at=NOW - 1,
        age=1.2,
        prompt_tokens=812,
        cached_tokens=0,
        completion_tokens=88,
        rate=71.4,
        first_token=0.21,
    ),
    RequestRow(
        id="chat-r83",
        model="mlx-community/Qwen3-32B-4bit",
        state="prefill",
        client="opencode",
        route="/v1/chat/completions",
        started_at=NOW - 4,
        age=4.0,
        prompt_tokens=18400,
        cached_tokens=2208,
        first_difference=2214,
        miss="a time or date in the prompt changed",
        progress=0.41,
        rate=2100.0,
    ),
    RequestRow(
        id="cmpl-r84",
        model="mlx-community/Qwen3-32B-4bit",
        state="queued",
        client="curl/8.4",
        route="/v1/completions",
        started_at=NOW,
        position=1,
        prompt_tokens=900,
    ),
    RequestRow(
        id="chat-r80",
        model=QWEN,
        state="finished",
        client="curl/8.4",
        route="/v1/chat/completions",
        started_at=NOW - 40,
        age=4.4,
        prompt_tokens=20,
        cached_tokens=0,
        completion_tokens=311,
        rate=70.2,
        first_token=0.05,
    ),
)
DOWNLOADS = (
    Download(
        id="d1",
        repo="mlx-community/gpt-oss-120b-MXFP4",
        state="downloading",
        done=24 * GB,
        total=631 * GB // 10,
        rate=92e6,
        eta=424.0,
        files_done=5,
        files_total=15,
        started_at=NOW - 300,
    ),
    Download(
        id="d2",
        repo="mlx-community/GLM-4.5-Air-4bit",
        state="failed",
        done=GB,
        total=60 * GB,
        started_at=NOW - 900,
        error=ErrorBody(code="hub_error", message="the Hub answered 401 [gated]", hint="hf auth login"),
    ),
)


INCIDENTS = (
    Incident(at=NOW - 7265, kind="crashed", model=QWEN, message="the model's process was ended by SIGKILL"),
    Incident(
        at=NOW - 1570,
        kind="evicted",
        model="mlx-community/gemma-3-27b-it-qat-4bit",
        message="unloaded to make room for mlx-community/Qwen3-32B-4bit",
    ),
    Incident(
        at=NOW - 200,
        kind="load failed",
        model="mlx-community/gemma-3-27b-it-qat-4bit",
        message="mlx-community/gemma-3-27b-it-qat-4bit does not fit into memory: it needs 21.0 GB, 16.8 GB of weights, "
        "3.4 GB of cache for 131,072 tokens and 0.8 GB to compute; there is 96.0 GB, of which models hold 79.2 GB",
    ),
)


def status(**changes: Any) -> Status:
    fields: dict[str, Any] = {
        "version": "0.0.0",
        "protocol": 1,
        "pid": 4700,
        "started_at": NOW - 86400,
        "uptime": 86400.0,
        "address": "http://127.0.0.1:1234",
        "home": "/home/user/.lmx",
        "health": Health(ok=True),
        "versions": {"mlx": "0.32.4", "mlx-lm": "0.32.2"},
        "backend": "metal, Apple M3 Max",
        "log_file": "/home/user/.lmx/logs/daemon.log",
    }
    return Status(**(fields | changes))


def series(seconds: int = 300) -> Series:
    """Return waves that look like work, the same in each run."""
    steps = range(seconds)
    memory = tuple(int((26 + 6 * i / seconds + 0.4 * math.sin(i / 7)) * GB) for i in steps)
    decode = tuple(max(0.0, 75 + 55 * math.sin(i / 17) + 18 * math.sin(i / 3)) for i in steps)
    cpu = tuple(round(35 + 25 * math.sin(i / 23) + 8 * math.sin(i / 5), 1) for i in steps)
    return Series(memory=memory, decode=decode, prefill=tuple(x * 3 for x in decode), running=(1,) * seconds, cpu=cpu)


def busy_snapshot(**changes: Any) -> Snapshot:
    """Return the snapshot of a machine with models, requests, downloads and incidents."""
    fields: dict[str, Any] = {
        "status": status(incidents=INCIDENTS),
        "memory": HostMemory(
            total=128 * GB,
            available=80 * GB,
            cap=96 * GB,
            daemon=GB // 10,
            workers=264 * GB // 10,
            models=24 * GB,
            claimed=301 * GB // 10,
        ),
        "models": MODELS,
        "instances": INSTANCES,
        "requests": REQUESTS,
        "downloads": DOWNLOADS,
        "series": series(),
        "taken_at": NOW,
    }
    return Snapshot(**(fields | changes))


def quiet_snapshot() -> Snapshot:
    """Return the snapshot of a fresh daemon: the guide on disk, no model loaded."""
    return busy_snapshot(
        status=status(),
        models=(GUIDE,),
        instances=(),
        requests=(),
        downloads=(),
        series=Series(),
        memory=HostMemory(total=16 * GB, available=12 * GB, cap=12 * GB, daemon=GB // 20, workers=0, models=0),
    )


def with_requests(**states: str) -> Snapshot:
    """Return a snapshot with one request for each name and state, the oldest first."""
    rows = [
        RequestRow(id=name, model=QWEN, state=state, started_at=NOW + number)  # type: ignore[arg-type]
        for number, (name, state) in enumerate(states.items())
    ]
    return busy_snapshot(requests=tuple(rows))


def finished(*, reason: Any = "stop", tokens: int = 214, prompt: int = 4120) -> Finished:
    return Finished(
        id="",
        endings=(Ending(reason=reason),),
        usage=Usage(prompt_tokens=prompt, cached_tokens=3832, completion_tokens=tokens),
        timings=Timings(queue=0.0, prefill=0.08, first_token=0.09, decode=max(0.001, (tokens - 1) / 71.4)),
    )


def answer_of(text: str, *, reasoning: str = "", call: tuple[str, str] | None = None, pieces: int = 12) -> list[Event]:
    """Return the events of an answer whose text arrives in about `pieces` deltas."""
    events: list[Event] = [Started(id="", prompt_tokens=4120, cached_tokens=3832, seed=1, context_length=40960)]
    if reasoning:
        events.append(Delta(id="", reasoning=reasoning, tokens=20))
    step = max(1, len(text) // pieces)
    events += [Delta(id="", content=text[at : at + step], tokens=16) for at in range(0, len(text), step)]
    if call is not None:
        events.append(
            Delta(id="", tool_call=ToolCallDelta(index=0, id="c1", name=call[0], arguments=call[1]), tokens=9)
        )
    return [*events, finished()]
