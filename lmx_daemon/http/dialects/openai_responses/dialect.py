"""OpenAI's Responses routes: /v1/responses and everything below it."""

from collections.abc import Sequence

from lmx_daemon.http.dialects.openai_chat.dialect import OpenAIChat
from lmx_daemon.http.dialects.openai_responses.routes import ROUTES
from lmx_daemon.http.operation import Operation


class OpenAIResponses(OpenAIChat):
    """Implementation of the Dialect protocol. Errors and keep-alive are those of the other OpenAI routes."""

    name = "openai_responses"
    prefixes = ("/v1/responses",)
    routes = ROUTES

    def operations(self) -> Sequence[Operation]:
        """Return the descriptions. Their types are imported only when the document is asked for."""
        from lmx_daemon.http.dialects.openai_responses.operations import OPERATIONS

        return OPERATIONS
