"""The dashboard in docs/grafana.json: the form that Grafana documents for its classic JSON model."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest

FILE = Path(__file__).parents[3] / "docs" / "grafana.json"
SOURCE = {
    "type": "object",
    "required": ["type", "uid"],
    "properties": {"type": {"const": "prometheus"}, "uid": {"const": "${datasource}"}},
}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos", "datasource", "targets"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["timeseries", "stat", "gauge", "table", "bargauge"]},
        "title": {"type": "string", "minLength": 1},
        "gridPos": {
            "type": "object",
            "required": ["h", "w", "x", "y"],
            "additionalProperties": False,
            "properties": {
                "h": {"type": "integer", "minimum": 1},
                "w": {"type": "integer", "minimum": 1, "maximum": 24},
                "x": {"type": "integer", "minimum": 0, "maximum": 23},
                "y": {"type": "integer", "minimum": 0},
            },
        },
        "datasource": SOURCE,
        "targets": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["expr", "refId"],
                "properties": {"expr": {"type": "string", "minLength": 1}, "refId": {"type": "string", "minLength": 1}},
            },
        },
    },
}
MODEL = {
    "type": "object",
    "required": [
        "id",
        "uid",
        "title",
        "tags",
        "time",
        "templating",
        "annotations",
        "schemaVersion",
        "version",
        "panels",
    ],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "null"},
        "uid": {"type": "string", "minLength": 8, "maxLength": 40},
        "title": {"type": "string", "minLength": 1},
        "tags": {"type": "array", "items": {"type": "string"}},
        "timezone": {"enum": ["browser", "utc"]},
        "editable": {"type": "boolean"},
        "graphTooltip": {"enum": [0, 1, 2]},
        "time": {"type": "object", "required": ["from", "to"]},
        "timepicker": {"type": "object"},
        "templating": {"type": "object", "required": ["list"]},
        "annotations": {"type": "object", "required": ["list"]},
        "refresh": {"type": "string"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "version": {"type": "integer"},
        "links": {"type": "array"},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
    },
}


@pytest.fixture(scope="module")
def dashboard() -> Any:
    return json.loads(FILE.read_text())


def test_dashboard_has_the_form_of_the_classic_model(dashboard: Any) -> None:
    jsonschema.validate(dashboard, MODEL)


def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard: Any) -> None:
    places = [(panel["id"], panel["gridPos"]) for panel in dashboard["panels"]]
    assert len({identity for identity, _ in places}) == len(places)
    for _, place in places:
        assert place["x"] + place["w"] <= 24
    for (_, a), (_, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


def test_queries_have_ids_of_their_own_and_use_known_variables(dashboard: Any) -> None:
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        ids = [target["refId"] for target in panel["targets"]]
        assert len(set(ids)) == len(ids)
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"]))
            assert used <= variables | {"__rate_interval", "__range"}, target["expr"]
