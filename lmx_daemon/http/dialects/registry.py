"""The dialects that the public port serves. A new dialect is added to this list and nowhere else."""

from lmx_daemon.http.dialect import Dialects
from lmx_daemon.http.dialects.anthropic.dialect import Anthropic
from lmx_daemon.http.dialects.decisions.dialect import Decisions
from lmx_daemon.http.dialects.lmstudio.dialect import LmStudio
from lmx_daemon.http.dialects.native.dialect import Native
from lmx_daemon.http.dialects.ollama.dialect import Ollama
from lmx_daemon.http.dialects.openai_chat.dialect import OpenAIChat
from lmx_daemon.http.dialects.openai_responses.dialect import OpenAIResponses


def public_dialects() -> Dialects:
    """Return the dialects of the public app."""
    return Dialects([OpenAIChat(), OpenAIResponses(), Decisions(), Anthropic(), LmStudio(), Ollama(), Native()])
