"""The metrics as families of prometheus_client: names, help texts, labels, and the values at one moment.

Names of requests' metrics follow OpenTelemetry's conventions for generative AI if there is one; all others begin
with lmx_. The module imports prometheus_client; see exposition.py.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from lmx_daemon.contract.admin.snapshot import Snapshot
from lmx_daemon.contract.models import Instance
from lmx_daemon.monitor.metrics.readings import Readings
from lmx_daemon.monitor.metrics.request_metrics import RequestMetrics
from lmx_daemon.monitor.metrics.tallies import Distribution, Tally

OPERATION = ("gen_ai_operation_name", "gen_ai_request_model")
DOWNLOAD_STATES = ("queued", "active", "paused", "done", "failed", "cancelled")


def families(read: Readings) -> Iterator[Metric]:
    """Yield all families."""
    status = read.snapshot.status
    info = {"version": status.version, "backend": status.backend, "platform": status.platform}
    yield InfoMetricFamily("lmx_build", "Version of lmx, and what it runs on.", info)
    yield GaugeMetricFamily("lmx_start_time_seconds", "Start of the daemon, Unix time.", status.started_at)
    yield GaugeMetricFamily("lmx_healthy", "1 while the daemon and its workers make progress.", int(status.health.ok))
    yield from _of_requests(read.requests)
    yield from _of_memory(read.snapshot)
    yield from _of_models(_by_model(read))
    yield from _of_downloads(read.snapshot)
    yield _counter(
        "lmx_incidents", "Incidents: crashes, hangs, evictions and other events.", ["kind", "model"], _incidents(read)
    )


def _of_requests(read: RequestMetrics) -> Iterator[Metric]:
    labels = ["route", "model", "outcome", "code"]
    yield _counter("lmx_requests", "Requests that have ended.", labels, read.requests)
    yield _counter("lmx_http_responses", "Answers of the public port.", ["dialect", "status"], read.responses)
    yield _counter("lmx_prompt_tokens", "Tokens of prompts, cached ones included.", ["model"], read.prompt_tokens)
    yield _counter("lmx_cached_tokens", "Tokens of prompts from the prefix cache.", ["model"], read.cached_tokens)
    yield _counter("lmx_completion_tokens", "Generated tokens.", ["model"], read.completion_tokens)
    yield _counter("lmx_prefix_cache_requests", "Requests by result of the cache.", ["model", "result"], read.prefixes)
    yield _histogram("lmx_queue_seconds", "Time from arrival to prefill, loads included.", ["model"], read.queue)
    yield _histogram("lmx_prefill_seconds", "Time from prefill to the first token.", ["model"], read.prefill)
    yield _histogram(
        "gen_ai_server_request_duration_seconds",
        "Time from arrival to end.",
        [*OPERATION, "error_type"],
        read.duration,
    )
    yield _histogram(
        "gen_ai_server_time_to_first_token_seconds", "Time from arrival to first token.", OPERATION, read.first_token
    )
    yield _histogram(
        "gen_ai_server_time_per_output_token_seconds",
        "Mean time between two tokens of one answer.",
        OPERATION,
        read.per_token,
    )
    yield _histogram(
        "gen_ai_client_token_usage", "Tokens of one request.", [*OPERATION, "gen_ai_token_type"], read.tokens
    )


def _of_memory(snapshot: Snapshot) -> Iterator[Metric]:
    memory = snapshot.memory
    family = GaugeMetricFamily("lmx_memory_bytes", "Memory of the machine and of lmx, by kind.", labels=["kind"])
    for kind in ("total", "available", "cap", "daemon", "workers", "models", "claimed"):
        family.add_metric([kind], getattr(memory, kind))
    yield family


def _by_model(read: Readings) -> dict[str, Instance]:
    """Return one instance of each model, by its label. A ready one is preferred to one that loads or unloads."""
    found: dict[str, Instance] = {}
    for each in sorted(read.snapshot.instances, key=lambda each: each.state == "ready"):
        found[read.requests.models.of(each.model)] = each
    return found


def _of_models(instances: dict[str, Instance]) -> Iterator[Metric]:
    state = GaugeMetricFamily("lmx_model_state", "1 for the state of each model in memory.", labels=["model", "state"])
    rows = GaugeMetricFamily("lmx_batch_rows", "Rows in the batch of a model.", labels=["model"])
    queue = GaugeMetricFamily("lmx_queue_length", "Requests in the queue of a model.", labels=["model"])
    decode = GaugeMetricFamily("lmx_decode_tokens_per_second", "Tokens a second over all rows.", labels=["model"])
    prefill = GaugeMetricFamily("lmx_prefill_tokens_per_second", "Prompt tokens a second.", labels=["model"])
    memory = GaugeMetricFamily("lmx_model_memory_bytes", "Memory of a model, by kind.", labels=["model", "kind"])
    for model, each in instances.items():
        state.add_metric([model, each.state], 1)
        for family, value in (
            (rows, each.running),
            (queue, each.waiting),
            (decode, each.decode_rate),
            (prefill, each.prefill_rate),
        ):
            family.add_metric([model], value)
        for kind in ("active", "cache", "weights", "prefix_cache", "resident"):
            memory.add_metric([model, kind], getattr(each.memory, kind))
        memory.add_metric([model, "held"], each.held)
    yield from (state, rows, queue, decode, prefill, memory)


def _of_downloads(snapshot: Snapshot) -> Iterator[Metric]:
    states = GaugeMetricFamily("lmx_downloads", "Downloads in the list, by state.", labels=["state"])
    for state in DOWNLOAD_STATES:
        states.add_metric([state], sum(each.state == state for each in snapshot.downloads))
    rate = sum(each.rate for each in snapshot.downloads)
    yield from (states, GaugeMetricFamily("lmx_download_bytes_per_second", "Rate of all downloads.", rate))


def _incidents(read: Readings) -> Tally:
    tally = Tally()
    for (kind, model), count in read.incidents.items():
        tally.add((kind.replace(" ", "_"), read.requests.models.of(model)), count)
    return tally


def _counter(name: str, help: str, labels: Sequence[str], tally: Tally) -> Metric:
    family = CounterMetricFamily(name, help, labels=labels)
    for values, count in tally.values.items():
        family.add_metric(values, count)
    return family


def _histogram(name: str, help: str, labels: Sequence[str], found: Distribution) -> Metric:
    family = HistogramMetricFamily(name, help, labels=labels)
    bounds = [*map(floatToGoString, found.bounds), "+Inf"]
    for values, counts in found.counts.items():
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        family.add_metric(values, buckets=buckets, sum_value=found.sums[values])
    return family
