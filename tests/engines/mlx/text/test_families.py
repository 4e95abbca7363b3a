"""Every tool-call family that mlx-lm parses: text as its models write it, with its tokenizer's markers."""

import json
import pkgutil

import mlx_lm.tool_parsers
import pytest
from mlx_lm.chat_templates.muse_spark import RESPONSE_FORMAT
from mlx_lm.tool_parsers import muse_spark
from mlx_lm.utils import load_tokenizer

from lmx_daemon.engines.mlx.text.output_parser import Markers, OutputParser
from lmx_daemon.engines.mlx.text.prompt import markers_of
from tests.families import FAMILIES, TOOLS, Family
from tests.scripted import Script


def test_every_family_of_mlx_lm_is_tested() -> None:
    assert {family.name for family in FAMILIES} == {m.name for m in pkgutil.iter_modules(mlx_lm.tool_parsers.__path__)}


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.label)
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Markers]:
    """Return a family and the markers that mlx-lm finds in a model of it."""
    family: Family = request.param
    tokenizer = load_tokenizer(family.build(tmp_path_factory.mktemp("family")))
    assert tokenizer.tool_parser.__module__.rpartition(".")[2] in (family.name, "glm47")
    return family, Markers(**markers_of(tokenizer))


def test_the_calls_of_each_family_are_parsed(known: tuple[Family, Markers]) -> None:
    family, markers = known
    assert family.think is None or (markers.think_start, markers.think_end) == family.think
    for name, case in family.cases().items():
        for pieces in ([case.text], list(case.text), [p.decode() for p in Script(case.text).pieces(family.special)]):
            parser = OutputParser(markers, tools=TOOLS)
            found = [*map(parser.feed, pieces), parser.finish()]
            calls = [call for piece in found for call in piece.calls]
            assert [(call.name, json.loads(call.arguments)) for call in calls] == list(case.calls), name
            assert "".join(piece.content for piece in found) == case.content, name
            assert "".join(piece.reasoning for piece in found) == case.reasoning, name
            assert not any(piece.warning for piece in found)


def test_an_answer_cut_by_its_limit_has_whole_calls_and_no_markers(known: tuple[Family, Markers]) -> None:
    family, markers = known
    special = [*family.special, *filter(None, (*(family.think or ()), markers.tool_start, markers.tool_end))]
    for name, case in family.cases().items():
        if name not in ("casearound", "casesay"):
            continue
        pieces = [piece.decode() for piece in Script(case.text).pieces(special)]
        for length in range(len(pieces)):
            parser = OutputParser(markers, tools=TOOLS)
            found = [*map(parser.feed, pieces[:length]), parser.finish(cut=True)]
            calls = [(call.name, json.loads(call.arguments)) for piece in found for call in piece.calls]
            content = "".join(piece.content for piece in found)
            assert calls == list(case.calls)[: len(calls)], (name, pieces[:length])
            assert case.content.startswith(content.strip()), (name, content)


def test_the_headers_of_muse_spark_are_dropped() -> None:
    """The response format belongs to the model class, so that no scripted llama has it."""
    markers = Markers(
        tool_start=muse_spark.tool_call_start,
        tool_end=muse_spark.tool_call_end,
        tool_parser=muse_spark.parse_tool_call,
        transitions=RESPONSE_FORMAT["transitions"],
        initial=RESPONSE_FORMAT["initial_state"],
    )
    call = '<atem:function_calls><atem:invoke name="f"></atem:invoke></atem:function_calls>'
    text = (
        " to=self<|message|>I think.<|eom|><|start|>assistant to=commentary<|message|>I look.<|eom|>"
        f"<|start|>assistant to=f<|message|>{call}<|eom|><|start|>assistant to=user<|message|>Done.<|eot|>"
    )
    for pieces in ([text], list(text)):
        parser = OutputParser(markers, tools=TOOLS)
        found = [*map(parser.feed, pieces), parser.finish()]
        assert "".join(piece.content for piece in found) == "I look.\nDone."
        assert "".join(piece.reasoning for piece in found) == "I think."
        assert [call.name for piece in found for call in piece.calls] == ["f"]
