"""Tool calls of Seed-OSS, which mlx-lm has no parser for. Between the markers they have Qwen3-Coder's form.

The module has the three names of a module of mlx_lm.tool_parsers, so that it is used like one of them.
"""

from mlx_lm.tool_parsers import qwen3_coder

tool_call_start = "<seed:tool_call>"
tool_call_end = "</seed:tool_call>"
parse_tool_call = qwen3_coder.parse_tool_call
