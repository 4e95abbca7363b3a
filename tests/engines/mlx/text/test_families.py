"""Every tool-call family: text as its models write it, with its tokenizer's markers."""

import json
import pkgutil

import mlx_lm.tool_parsers
import pytest
from mlx_lm.chat_templates.muse_spark import RESPONSE_FORMAT
from mlx_lm.tool_parsers import muse_spark
from mlx_lm.utils import load_tokenizer

from lmx_daemon.engines.mlx.load.own_families import OWN_FAMILIES, adopt_own_family
from lmx_daemon.engines.mlx.text.output_parser import Markers, OutputParser
from lmx_daemon.engines.mlx.text.prompt import markers_of
from lmx_daemon.library.catalog.traits import traits_of
from tests.families import FAMILIES, TOOLS, Family
from tests.scripted import Script


def parser_of(family: Family) -> str:
    """Return the module of a family's parser. An own family may use the parser of another one."""
    own = {module.__name__.rpartition(".")[2]: module for module in OWN_FAMILIES}
    return own[family.name].parse_tool_call.__module__.rpartition(".")[2] if family.name in own else family.name


def test_every_family_is_tested_and_has_one_parser() -> None:
    theirs = {module.name for module in pkgutil.iter_modules(mlx_lm.tool_parsers.__path__)}
    own = {family.__name__.rpartition(".")[2] for family in OWN_FAMILIES}
    assert {family.name for family in FAMILIES} == theirs | own
    assert not theirs & own, "mlx-lm has a parser for it now: delete the own one"


def test_catalog_and_engine_agree_on_the_family_of_a_template() -> None:
    """Laguna and Kimi K3 have no words of their own in a template."""
    for family in FAMILIES:
        if family.mark:
            assert traits_of({}, f"tools {family.mark}", ()).tool_parser == parser_of(family), family.label


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.label)
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Markers]:
    """Return a family and the markers that are found in a model of it."""
    family: Family = request.param
    tokenizer = load_tokenizer(family.build(tmp_path_factory.mktemp("family")))
    adopt_own_family(tokenizer)
    assert tokenizer.tool_parser.__module__.rpartition(".")[2] in (parser_of(family), "glm47")
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
