"""Errors of sources that cannot be compiled: the compiler's reason without the source as the compiler reads it."""

import pytest

from lmx_daemon.contract.generation.constraint import Grammar
from lmx_daemon.engines.mlx.grammar.check_program import check
from lmx_daemon.engines.mlx.grammar.source import AnswerGrammar, invalid


@pytest.mark.parametrize("lines_above", [0, 1, 6])
def test_the_error_of_a_schema_in_a_grammar_of_calls_has_no_line_of_the_grammar(lines_above: int) -> None:
    rules = "".join(f'rule{n}: "{n}"\n' for n in range(lines_above))
    grammar = AnswerGrammar(f'start: call\n{rules}call: %json {{"type": "banana"}}\nend: "x"\n', "tools")
    reason = check({"kind": "answer", "source": grammar.lark})["invalid"]
    assert invalid(grammar, reason).message == "tools: the schema cannot be used: Invalid type: banana"


def test_the_error_of_a_grammar_has_the_line_of_the_clients_source() -> None:
    reason = check({"kind": "lark", "source": 'start: a\na: (("x"'})["invalid"]
    assert invalid(Grammar(lark="start: a"), reason).message.startswith(
        "response_format: the grammar cannot be used: 2("
    )
