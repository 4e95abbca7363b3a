"""/metrics of a real daemon, as Prometheus and its client read it."""

import json
import re
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.running import Daemon

ASKED = {"model": "lmx/guide", "messages": [{"role": "user", "content": "how do I pull a model?"}], "max_tokens": 4}


def scraped(daemon: Daemon, **headers: str) -> dict[str, float]:
    answer = httpx2.get(f"{daemon.address}/metrics", headers=headers, timeout=30)
    (kind,) = answer.headers.get_list("content-type")
    assert answer.status_code == 200 and kind.startswith("text/plain; version=") and kind.count("charset") == 1
    samples = (sample for family in text_string_to_metric_families(answer.text) for sample in family.samples)
    return {f"{s.name}{sorted(s.labels.values())}": s.value for s in samples}


def test_a_request_and_a_refusal_are_counted(own_daemon: Daemon) -> None:
    own_daemon.start()
    before = scraped(own_daemon)
    assert not [name for name in before if name.startswith("lmx_requests_total")]
    url = f"{own_daemon.address}/v1/chat/completions"
    assert httpx2.post(url, json=ASKED, timeout=60).status_code == 200
    assert httpx2.post(url, json=ASKED | {"model": "no/such"}, timeout=60).status_code == 404
    after = scraped(own_daemon)
    assert after["lmx_requests_total['', '/v1/chat/completions', 'finished', 'lmx/guide']"] == 1
    assert after["lmx_requests_total['/v1/chat/completions', 'model_not_found', 'other', 'refused']"] == 1
    assert after["lmx_http_responses_total['404', 'openai_chat']"] == 1
    assert after["lmx_http_responses_total['200', 'openai_chat']"] == 1
    assert after["lmx_completion_tokens_total['lmx/guide']"] == 4
    assert after["lmx_model_state['lmx/guide', 'ready']"] == 1
    answer = httpx2.get(f"{own_daemon.address}/metrics", headers={"accept": "application/openmetrics-text"}, timeout=30)
    assert answer.headers["content-type"].startswith("application/openmetrics-text") and "# EOF" in answer.text


def test_metrics_need_the_key_where_one_is_set_and_can_be_switched_off(own_daemon: Daemon) -> None:
    own_daemon.config = '[server]\napi_key = "k"\n'
    own_daemon.start()
    assert httpx2.get(f"{own_daemon.address}/metrics", timeout=30).status_code == 401
    assert scraped(own_daemon, authorization="Bearer k")
    own_daemon.stop()
    own_daemon.config = "[metrics]\nenabled = false\n"
    own_daemon.start()
    answer = httpx2.get(f"{own_daemon.address}/metrics", timeout=30)
    assert answer.status_code == 404 and "metrics are switched off" in answer.text


def test_every_query_of_the_dashboard_has_its_metric_and_labels_in_a_scrape(own_daemon: Daemon) -> None:
    own_daemon.start()
    url = f"{own_daemon.address}/v1/chat/completions"
    assert httpx2.post(url, json=ASKED, timeout=60).status_code == 200
    own_daemon.admin("POST", "/admin/models/unload", {"id": "lmx/guide"})
    assert httpx2.post(url, json=ASKED, timeout=60).status_code == 200
    page = httpx2.get(f"{own_daemon.address}/metrics", timeout=30).text
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        form = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        labels |= {family.name + suffix: set() for suffix in form}
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    kinds = {(s.name, s.labels.get("kind")) for f in text_string_to_metric_families(page) for s in f.samples}
    dashboard = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [
        variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["name"] == "model"
    ]
    for query in queries:
        found = re.findall(r"\b((?:lmx|gen_ai)_\w+)(?:\{([^}]*)\})?", re.sub(r"by \([^)]*\)", "", query))
        bare = re.sub(r"\{[^}]*\}|by \([^)]*\)", "", query)
        assert set(re.findall(r"\b(?:lmx|gen_ai)_\w+", bare)) <= set(labels), query
        metrics = [(name, re.findall(r"(\w+)(?:=~|!=|=)", selector)) for name, selector in found if name in labels]
        assert metrics, query
        for name, used in metrics:
            assert not labels[name] or set(used) <= labels[name], (name, used)
        for name, chosen in re.findall(r'\b(lmx_\w+)\{kind=~"([^"]*)"', query):
            assert {(name, kind) for kind in chosen.split("|")} <= kinds, query
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            assert all(not labels[name] or grouped.strip() in labels[name] for name, _ in metrics), query
