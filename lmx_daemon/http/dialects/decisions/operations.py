"""The routes of decisions for the OpenAPI document."""

from lmx_daemon.http.dialects.decisions.answers import DecisionAnswer, SystemOneAnswer
from lmx_daemon.http.dialects.decisions.bodies import DecisionBody, SystemOneBody
from lmx_daemon.http.dialects.openai_chat.answers import ErrorAnswer
from lmx_daemon.http.dialects.openai_chat.operations import FAILURES
from lmx_daemon.http.operation import Operation

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/decisions",
        name="createDecision",
        summary="Answer typed questions about a text with probabilities",
        body=DecisionBody,
        answer=DecisionAnswer,
        error=ErrorAnswer,
        errors=FAILURES,
    ),
    Operation(
        method="post",
        path="/v1/systemone",
        name="createSystemOneDecision",
        summary="Answer typed questions about a state with probabilities",
        body=SystemOneBody,
        answer=SystemOneAnswer,
        error=ErrorAnswer,
        errors=FAILURES,
    ),
)
