"""The template child with templates of the families, and with hostile ones."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from lmx_daemon.contract.errors import RequestError, WorkerError
from lmx_daemon.worker.killable_child import footprint, gone
from lmx_daemon.worker.template_child import TemplateChild, ended
from tests.engines.mlx.text.prompts.renderers import Templates, each_source

MIB = 1024 * 1024
MESSAGES = [{"role": "user", "content": "Hello & <welcome>"}]
PARAMETERS = {"type": "object", "properties": {"a": {"type": "string", "description": "x"}}, "required": ["a"]}
WANTS_MORE = {"fireworks-ai-llama-3-firefunction-v2"}
"""Templates that refuse a chat without their own variable `functions`."""
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


def test_a_template_renders(child: TemplateChild) -> None:
    assert child.render("{{ messages[0].content }}", {"messages": MESSAGES}) == "Hello & <welcome>"


def test_the_answer_of_a_late_child_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = TemplateChild(2.0, 256 * 1024 * 1024)
    with monkeypatch.context() as hurry:
        hurry.setattr("lmx_daemon.worker.killable_child.START_SECONDS", 0.0)
        with pytest.raises(WorkerError, match="did not start"):
            made.render("{{ 1 + 1 }}", {})
    assert made.render("{{ 2 + 2 }}", {}) == "4"
    made.close()


def test_a_child_that_cannot_limit_its_memory_is_watched_and_killed() -> None:
    """Simulate macOS. The first fake measurement is the child's size at its start."""
    sizes: Iterator[int] = itertools.chain([300 * MIB, 300 * MIB, 500 * MIB], itertools.repeat(600 * MIB))
    made = TemplateChild(20.0, 256 * MIB, measure=lambda pid: next(sizes))
    begun = time.monotonic()
    with pytest.raises(RequestError, match="256 MiB"):
        made.render(HOSTILE["endless"], {})
    assert time.monotonic() - begun < 10.0
    made.close()


def test_the_footprint_of_a_process_that_ended_is_zero() -> None:
    assert footprint(os.getpid()) > 10 * MIB
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert footprint(ended.pid) == 0


def test_no_process_is_forked_for_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork of a process with threads of MLX and Rust may hang or crash."""

    def forked(*_: object) -> int:
        raise AssertionError("fork_exec instead of posix_spawn")

    monkeypatch.setattr("subprocess._fork_exec", forked)
    made = TemplateChild(2.0, 256 * MIB)
    assert made.render("{{ 1 + 1 }}", {}) == "2"
    made.close()


class TestEnds:
    def test_a_signal_from_outside_is_a_worker_error(self) -> None:
        error = ended(gone(-signal.SIGKILL))
        assert error.status == 500 and "SIGKILL" in error.message

    def test_a_crash_is_a_template_error(self) -> None:
        error = ended(gone(-signal.SIGSEGV))
        assert error.status == 400 and "SIGSEGV" in error.message
        assert "exit code 1" in ended(gone(1)).message


def test_half_characters_are_replaced(child: TemplateChild) -> None:
    assert child.render("{{ 'a\\ud83d' }}", {}) == "a\N{REPLACEMENT CHARACTER}"


def test_json_is_not_escaped_for_html(child: TemplateChild) -> None:
    assert child.render("{{ messages | tojson }}", {"messages": MESSAGES}) == (
        '[{"role": "user", "content": "Hello & <welcome>"}]'
    )


def test_a_refusal_has_the_param_messages(child: TemplateChild) -> None:
    with pytest.raises(RequestError, match="only one system") as error:
        child.render("{{ raise_exception('only one system message') }}", {})
    assert error.value.param == "messages"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_within_its_limit(name: str, child: TemplateChild) -> None:
    begun = time.monotonic()
    with pytest.raises(RequestError):
        child.render(HOSTILE[name], {"messages": MESSAGES})
    assert time.monotonic() - begun < 8.0
    assert child.render("{{ 1 + 1 }}", {}) == "2"


@each_source
def test_templates_of_every_family_render_a_plain_chat(templates: Templates) -> None:
    child = TemplateChild(20.0, 256 * 1024 * 1024)
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": PARAMETERS}}
    variables = {"messages": MESSAGES, "add_generation_prompt": True, "bos_token": "", "eos_token": ""}
    failed = {}
    for name, template in templates().items():
        tools = [tool] if name.endswith("tool_use") else None
        try:
            assert "Hello" in child.render(template, variables | {"tools": tools}), name
        except RequestError as error:
            failed[name] = error.message
    child.close()
    assert failed.keys() <= WANTS_MORE
