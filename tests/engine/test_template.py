"""The child that renders templates: real families, and hostile ones."""

import time
from collections.abc import Iterator

import pytest

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.engine.template import TemplateChild
from tests.engine.prompts import families

MESSAGES = [{"role": "user", "content": "Hello & <welcome>"}]
PARAMETERS = {"type": "object", "properties": {"a": {"type": "string", "description": "x"}}, "required": ["a"]}
WANTS_MORE = {"fireworks-ai-llama-3-firefunction-v2"}
"""Needs a variable of its own, `functions`; it says so."""
HOSTILE = {
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
    "doubling": "{% set n = namespace(s='x' * 999) %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "centred": "{{ 'x'.center(10 ** 12) }}",
    "formatted": "{{ '%0999999999999d' % 1 }}",
    "powers": "{{ (10 ** 9) ** (10 ** 9) }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__.os.system('true') }}",
    "imports": "{% include '/etc/passwd' %}",
}


@pytest.fixture(scope="module")
def child() -> Iterator[TemplateChild]:
    made = TemplateChild(2.0, 256 * 1024 * 1024)
    yield made
    made.close()


def test_it_renders(child: TemplateChild) -> None:
    assert child.render("{{ messages[0].content }}", {"messages": MESSAGES}) == "Hello & <welcome>"


def test_a_child_that_was_late_to_start_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    made = TemplateChild(2.0, 256 * 1024 * 1024)
    with monkeypatch.context() as hurry:
        hurry.setattr("lmx_daemon.engine.template.START_SECONDS", 0.0)
        with pytest.raises(RequestError, match="did not start"):
            made.render("{{ 1 + 1 }}", {})
    assert made.render("{{ 2 + 2 }}", {}) == "4"
    made.close()


def test_json_is_not_escaped_for_html(child: TemplateChild) -> None:
    assert child.render("{{ messages | tojson }}", {"messages": MESSAGES}) == (
        '[{"role": "user", "content": "Hello & <welcome>"}]'
    )


def test_a_refusal_names_the_messages(child: TemplateChild) -> None:
    with pytest.raises(RequestError, match="only one system") as error:
        child.render("{{ raise_exception('only one system message') }}", {})
    assert error.value.param == "messages"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_costs_a_few_seconds_and_no_more(name: str, child: TemplateChild) -> None:
    begun = time.monotonic()
    with pytest.raises(RequestError):
        child.render(HOSTILE[name], {"messages": MESSAGES})
    assert time.monotonic() - begun < 8.0
    assert child.render("{{ 1 + 1 }}", {}) == "2"


def test_real_families_render_a_plain_chat(child: TemplateChild) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": PARAMETERS}}
    variables = {"messages": MESSAGES, "add_generation_prompt": True, "bos_token": "", "eos_token": ""}
    failed = {}
    for name, template in families().items():
        tools = [tool] if name.endswith("tool_use") else None
        try:
            assert "Hello" in child.render(template, variables | {"tools": tools}), name
        except RequestError as error:
            failed[name] = error.message
    assert failed.keys() <= WANTS_MORE
