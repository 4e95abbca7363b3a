"""Every tool-call family: text as its models write it, with its tokenizer's markers."""

import json
import pkgutil
from pathlib import Path
from typing import Any

import mlx_lm.tool_parsers
import pytest
from mlx_lm.utils import load_tokenizer

from lmx_daemon.contract.generation.requests import Chat, Tool, ToolChoice
from lmx_daemon.contract.tool_families import TEXTS
from lmx_daemon.engines.mlx.text.answer_rules import answer_rule
from lmx_daemon.engines.mlx.text.families.choose import FAMILIES as CHOSEN
from lmx_daemon.engines.mlx.text.families.choose import family_of
from lmx_daemon.engines.mlx.text.families.family import Family as Written
from lmx_daemon.engines.mlx.text.families.muse_spark import MUSE_SPARK
from lmx_daemon.engines.mlx.text.output_parser import OutputParser, ParsedText
from lmx_daemon.library.catalog.traits import traits_of
from tests.families import FAMILIES, TOOLS, Family
from tests.models import TEMPLATE
from tests.scripted import Script, build_scripted

PARSERS = [module.name for module in pkgutil.iter_modules(mlx_lm.tool_parsers.__path__)]
SHARED = {"laguna": "glm47"}
"""Families that write as another one does."""


def test_every_family_of_mlx_lm_is_tested() -> None:
    assert set(PARSERS) <= {family.name for family in FAMILIES}


@pytest.mark.parametrize("parser", PARSERS)
def test_calls_of_every_parser_of_mlx_lm_have_a_grammar(parser: str, tmp_path: Path) -> None:
    """The files name the parser, and no text of them shows the family."""
    template = TEMPLATE + "{#- tools -#}"
    build_scripted(tmp_path, "Hello.", template=template, settings={"tool_parser_type": parser})
    family = family_of(load_tokenizer(tmp_path))
    assert family.name == SHARED.get(parser, parser)
    chat = Chat(messages=(), tools=(Tool(name="add"),), tool_choice=ToolChoice(mode="required"))
    assert answer_rule(chat, None, family) is not None


def test_catalog_and_engine_agree_on_the_family_of_a_template() -> None:
    """Laguna and Kimi K3 have no words of their own in a template."""
    for family in FAMILIES:
        if family.mark:
            assert traits_of({}, f"tools {family.mark}", ()).tool_parser == family.name, family.label


def test_every_family_that_texts_decide_has_a_parser() -> None:
    assert {name for name, _ in TEXTS} == {family.name for family in CHOSEN}
    for name, texts in TEXTS:
        assert traits_of({}, "tools " + "".join(texts), ()).tool_parser == name or "<function=" in texts, name


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.label)
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Written]:
    """Return a family and what is found in the files of a model of it."""
    family: Family = request.param
    found = family_of(load_tokenizer(family.build(tmp_path_factory.mktemp("family"))))
    assert found.name == SHARED.get(family.name, family.name)
    return family, found


def calls_of(found: list[ParsedText]) -> list[tuple[str, str]]:
    """Return names and arguments of the calls whose parts are in `found`."""
    calls: list[tuple[str, str]] = []
    for call in (call for piece in found for call in piece.calls):
        if call.name is not None:
            calls.append((call.name, ""))
        calls[-1] = (calls[-1][0], calls[-1][1] + call.arguments)
    return calls


def is_beginning(given: str, arguments: dict[str, Any]) -> bool:
    """Return whether `given` is JSON text of the arguments, or its beginning."""
    try:
        return bool(json.loads(given) == arguments)
    except ValueError:
        spelled = (json.dumps(arguments, ensure_ascii=plain) for plain in (True, False))
        return any(text.startswith(given.replace("\\ufffd", "")) for text in spelled)


def test_the_calls_of_each_family_are_parsed(known: tuple[Family, Written]) -> None:
    family, found_family = known
    assert family.think is None or found_family.think == family.think
    for name, case in family.cases().items():
        for pieces in ([case.text], list(case.text), [p.decode() for p in Script(case.text).pieces(family.special)]):
            parser = OutputParser(found_family, tools=TOOLS)
            found = [*map(parser.feed, pieces), parser.finish()]
            assert [(name, json.loads(given)) for name, given in calls_of(found)] == list(case.calls), name
            assert "".join(piece.content for piece in found) == case.content, name
            assert "".join(piece.reasoning for piece in found) == case.reasoning, name
            assert not any(piece.warning for piece in found)


def test_an_answer_cut_by_its_limit_has_whole_calls_and_no_markers(known: tuple[Family, Written]) -> None:
    family, found_family = known
    special = [*family.special, *(family.think or ()), *(e.start for e in found_family.envelopes)]
    for name, case in family.cases().items():
        if name not in ("casearound", "casesay"):
            continue
        pieces = [piece.decode() for piece in Script(case.text).pieces(special)]
        for length in range(len(pieces)):
            parser = OutputParser(found_family, tools=TOOLS)
            found = [*map(parser.feed, pieces[:length]), parser.finish(cut=True)]
            content = "".join(piece.content for piece in found)
            for (called, given), (wanted, arguments) in zip(calls_of(found), case.calls, strict=False):
                assert called == wanted and is_beginning(given, arguments), (name, pieces[:length])
            assert case.content.startswith(content.strip()), (name, content)


def test_the_headers_of_muse_spark_are_dropped() -> None:
    """The response format belongs to the model class, so that no scripted llama has it."""
    call = '<atem:function_calls><atem:invoke name="f"></atem:invoke></atem:function_calls>'
    text = (
        " to=self<|message|>I think.<|eom|><|start|>assistant to=commentary<|message|>I look.<|eom|>"
        f"<|start|>assistant to=f<|message|>{call}<|eom|><|start|>assistant to=user<|message|>Done.<|eot|>"
    )
    for pieces in ([text], list(text)):
        parser = OutputParser(MUSE_SPARK, tools=TOOLS)
        found = [*map(parser.feed, pieces), parser.finish()]
        assert "".join(piece.content for piece in found) == "I look.\nDone."
        assert "".join(piece.reasoning for piece in found) == "I think."
        assert calls_of(found) == [("f", "{}")]
