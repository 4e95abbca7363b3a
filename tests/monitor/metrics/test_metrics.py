"""Tests of the metrics, read by the parsers of Prometheus' own client."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from lmx_daemon.contract.admin.library.pulls import Download
from lmx_daemon.contract.admin.snapshot import Health, HostMemory, RequestRow, Snapshot, Status
from lmx_daemon.contract.errors import ErrorBody
from lmx_daemon.contract.generation.events import Timings
from lmx_daemon.contract.generation.requests import Generate, Text
from lmx_daemon.contract.models import Instance
from lmx_daemon.monitor.metrics.exposition import exposition
from lmx_daemon.monitor.metrics.readings import Readings
from lmx_daemon.monitor.metrics.request_metrics import MOST_CODES, MOST_MODELS, RequestMetrics
from lmx_daemon.settings.sections.metrics import MetricsSettings

REQUEST = Generate(id="r", model="m", prompt=Text(text="x"))
ROW = RequestRow(
    id="r",
    model="code",
    instance="org/m:1",
    state="finished",
    route="/v1/chat/completions",
    age=2.0,
    prompt_tokens=100,
    cached_tokens=60,
    completion_tokens=11,
    first_token=0.5,
    timings=Timings(queue=0.25, prefill=0.25, first_token=0.5, decode=1.0),
)
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def snapshot() -> Snapshot:
    status = Status(
        version="1", protocol=1, pid=1, started_at=5.0, uptime=1.0, address="", home="", health=Health(ok=True)
    )
    memory = HostMemory(total=100, available=50, cap=80, daemon=1, workers=2, models=3)
    instances = (
        Instance(id="org/m:2", model="org/m", state="ready", running=3, waiting=1, held=7),
        Instance(id="org/m:1", model="org/m", state="leaving", running=9),
    )
    downloads = (Download(id="d", repo="org/m", state="active", rate=10.0),)
    return Snapshot(status=status, memory=memory, instances=instances, downloads=downloads)


def counted(*rows: RequestRow, enabled: bool = True) -> RequestMetrics:
    metrics = RequestMetrics(lambda: MetricsSettings(enabled=enabled))
    for row in rows:
        metrics.ended(REQUEST, row)
    return metrics


def parsed(metrics: RequestMetrics, accept: str = "") -> dict[str, Metric]:
    incidents = {("evicted", "org/m"): 2, ("out of memory", "org/m"): 1}
    page, media_type = exposition(Readings(metrics, snapshot(), incidents), accept)  # type: ignore[arg-type]
    parse = openmetrics_parser.text_string_to_metric_families if accept else text_string_to_metric_families
    assert ("openmetrics" in media_type) == bool(accept)
    families: Iterable[Metric] = parse(page.decode())
    return {family.name: family for family in families}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float | None:
    found = [s for family in families.values() for s in family.samples if s.name == sample and s.labels == labels]
    assert len(found) <= 1
    return found[0].value if found else None


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_a_scrape_is_read_by_the_parser_of_the_client(accept: str) -> None:
    families = parsed(counted(ROW, ROW), accept)
    route = {"route": "/v1/chat/completions", "model": "org/m", "outcome": "finished", "code": ""}
    assert value(families, "lmx_requests_total", **route) == 2
    assert value(families, "lmx_prompt_tokens_total", model="org/m") == 200
    assert value(families, "lmx_cached_tokens_total", model="org/m") == 120
    assert value(families, "lmx_completion_tokens_total", model="org/m") == 22
    assert value(families, "lmx_prefix_cache_requests_total", model="org/m", result="hit") == 2
    assert value(families, "lmx_queue_seconds_sum", model="org/m") == 0.5
    labels = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "org/m"}
    assert value(families, "gen_ai_server_time_to_first_token_seconds_count", **labels) == 2
    assert value(families, "gen_ai_server_time_per_output_token_seconds_bucket", **labels, le="0.1") == 2
    assert value(families, "gen_ai_server_time_per_output_token_seconds_bucket", **labels, le="0.075") == 0
    assert value(families, "gen_ai_client_token_usage_sum", **labels, gen_ai_token_type="input") == 200


def test_gauges_are_those_of_the_moment() -> None:
    families = parsed(counted())
    assert value(families, "lmx_memory_bytes", kind="cap") == 80
    assert value(families, "lmx_batch_rows", model="org/m") == 3, "the ready instance counts, not the leaving one"
    assert value(families, "lmx_queue_length", model="org/m") == 1
    assert value(families, "lmx_model_memory_bytes", model="org/m", kind="held") == 7
    assert value(families, "lmx_downloads", state="active") == 1
    assert value(families, "lmx_download_bytes_per_second") == 10
    assert value(families, "lmx_incidents_total", kind="evicted", model="org/m") == 2
    assert value(families, "lmx_incidents_total", kind="out_of_memory", model="org/m") == 1
    assert value(families, "lmx_start_time_seconds") == 5


def test_a_failure_is_counted_with_its_code_and_a_departed_client_as_cancelled() -> None:
    failed = RequestRow(id="r", model="m", state="failed", error=ErrorBody(code="worker_failed", message="x"))
    families = parsed(counted(failed, RequestRow(id="r", model="m", state="decode")))
    assert value(families, "lmx_requests_total", route="admin", model="m", outcome="failed", code="worker_failed") == 1
    assert value(families, "lmx_requests_total", route="admin", model="m", outcome="cancelled", code="") == 1


def test_refused_requests_are_counted_and_their_models_are_labels_only_if_they_are_known() -> None:
    metrics = counted(ROW)
    error = ErrorBody(code="queue_full", message="x")
    for model in ("org/m", "any/text"):
        metrics.refused(REQUEST, RequestRow(id="r", model=model, state="failed", error=error))
    families = parsed(metrics)
    for model in ("org/m", "other"):
        labels = {"route": "admin", "model": model, "outcome": "refused", "code": "queue_full"}
        assert value(families, "lmx_requests_total", **labels) == 1
    assert "any/text" not in str(families)


def test_the_number_of_labels_is_bounded() -> None:
    rows = [
        RequestRow(id="r", model=f"m{n}", state="failed", error=ErrorBody(code=f"c{n}", message="x"))
        for n in range(500)
    ]
    samples = parsed(counted(*rows))["lmx_requests"].samples
    models, codes = ({sample.labels[name] for sample in samples} for name in ("model", "code"))
    assert len(models) == MOST_MODELS + 1 and len(codes) == MOST_CODES + 1 and "other" in models & codes
    assert sum(sample.value for sample in samples) == 500


def test_nothing_is_counted_while_metrics_are_switched_off() -> None:
    assert parsed(counted(ROW, enabled=False))["lmx_requests"].samples == []


def test_names_of_clients_cannot_break_the_page() -> None:
    row = RequestRow(id="r", model='m"\n} 1\nx{', state="finished")
    samples = parsed(counted(row))["lmx_requests"].samples
    assert [sample.labels["model"] for sample in samples] == ['m"\n} 1\nx{']


def test_the_dashboard_and_its_description_name_metrics_that_exist() -> None:
    metrics = counted(ROW)
    metrics.responded("openai_chat", 200)
    known = {sample.name for family in parsed(metrics).values() for sample in family.samples}
    docs = Path(__file__).parents[3] / "docs"
    for file in ("grafana.json", "operations.md"):
        named = set(re.findall(r"\b(?:lmx|gen_ai_server|gen_ai_client)_\w+", (docs / file).read_text()))
        missing = {name for name in named if not known & {name, f"{name}_bucket"}}
        assert named and not missing, f"{file}: {missing}"
