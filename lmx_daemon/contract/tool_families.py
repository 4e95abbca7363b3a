"""Tool-call families by the texts in a model's files. The catalog and the engine choose with the same table."""

from collections.abc import Callable

TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("muse_spark", ("<atem:function_calls>",)),
    ("harmony", ("<|start|>", "<|channel|>", "<|message|>")),
    ("deepseek_dsml", ("｜DSML｜",)),
    ("deepseek", ("<｜tool▁calls▁begin｜>",)),
    ("minimax_m2", ("<minimax:tool_call>",)),
    ("gemma4", ("<|tool_call>", "<tool_call|>")),
    ("function_gemma", ("<start_function_call>",)),
    ("longcat", ("<longcat_tool_call>",)),
    ("glm47", ("<arg_key>",)),
    ("seed_oss", ("<seed:tool_call>",)),
    ("qwen3_coder", ("<function=", "<parameter=")),
    ("qwen3_coder", ("<tool_call>\\n<function=",)),
    ("qwen3_coder", ("<tool_call>\n<function=",)),
    ("kimi_k2", ("<|tool_calls_section_begin|>",)),
    ("kimi_k3", ("<|open|>", "<|close|>", "<|sep|>")),
    ("minicpm5", ('<function name="', '<param name="')),
    ("mistral", ("[TOOL_CALLS]",)),
    ("apertus", ("<|tools_prefix|>",)),
    ("command_r", ("<|START_ACTION|>",)),
    ("command_r_plus", ("Action:", "tool_name")),
    ("pythonic", ("<|tool_list_start|>",)),
    ("pythonic", ("<|tool_call_start|>",)),
    ("nemotron", ("<TOOLCALL>",)),
    ("apriel", ("<tool_calls>",)),
    ("functionary32", (">>>", "recipient")),
    ("functionary31", ("<function=",)),
    ("firefunction", ("functools",)),
    ("phi4", ("<|tool_call|>", "<|/tool_call|>")),
    ("granite", ("<|tool_call|>",)),
    ("json_tools", ("<tool_call>",)),
    ("llama3", ("<|python_tag|>",)),
    ("llama3", ("<|python_start|>",)),
)
"""Names of families, by texts that all stand in the chat template or are added tokens. The first match decides."""


def tool_family(known: Callable[[str], bool]) -> str | None:
    """Return the name of the first family whose texts are all `known`; None for a model without such texts."""
    return next((name for name, texts in TEXTS if all(map(known, texts))), None)
