"""A scripted model for tests of agents: its chat template renders tools, calls and results, as those of Qwen do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.families import CALL_MARKERS, THINK
from tests.models import cached_snapshot
from tests.scripted import Script, build_scripted

AGENT = "tests/agent"
TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Write <tool_call> with the name and the arguments. {#- tool_call.name -#}
<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}
{{- message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{{ call.function | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def build_agent_model(cache: Path, scripts: Mapping[str, str | Script], repo: str = AGENT, **config: Any) -> None:
    """Write the model `repo` to a Hugging Face cache. `scripts` maps a word of the prompt to what the model writes.

    `config` are fields of config.json.
    """
    special = (*CALL_MARKERS, *THINK)
    build_scripted(cached_snapshot(cache, repo), scripts, special=special, template=TEMPLATE, **config)


def call(name: str, arguments: str) -> str:
    """Return a tool call as the model writes it. `arguments` is JSON text."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
