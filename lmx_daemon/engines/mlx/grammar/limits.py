"""Limits on grammars: of the child that compiles a source first, and of the parser in each step."""

import llguidance

SECONDS = 4.0
"""Limit on the time to compile one source."""
MEMORY_BYTES = 512 * 1024 * 1024
"""Limit on the memory to compile one source."""
MAX_LEXER_STATES = 50_000
"""Bound on the memory of one grammar's lexer, at 1 to 2 kB for each state."""


def parser_limits() -> llguidance.LLParserLimits:
    """Return the limits of the parser. Beyond them its request fails; the defaults bound a step to about 15 ms."""
    return llguidance.LLParserLimits(max_lexer_states=MAX_LEXER_STATES, verbose_errors=False)
