"""The routes of decisions: OpenAI's form and System One's."""

from litestar import post

from lmx_daemon.contract.generation.requests import Decide
from lmx_daemon.http.context import AnyRequest, context_of
from lmx_daemon.http.dialects.decisions.answers import (
    DecisionAnswer,
    SystemOneAnswer,
    decision_answer,
    system_one_answer,
)
from lmx_daemon.http.dialects.decisions.bodies import DecisionBody, SystemOneBody
from lmx_daemon.http.dialects.decisions.requests import decision_requests, system_one_requests
from lmx_daemon.http.service import Service


@post("/v1/decisions", status_code=200)
async def decisions(request: AnyRequest, service: Service) -> DecisionAnswer:
    """Answer typed questions about a text with probabilities."""
    context = context_of(request)

    def translate(body: DecisionBody) -> list[Decide]:
        return decision_requests(body, context)

    body, asked = await service.read(request, DecisionBody, translate)
    return decision_answer(body, await service.decide(request, asked))


@post("/v1/systemone", status_code=200)
async def system_one(request: AnyRequest, service: Service) -> SystemOneAnswer:
    """Answer typed questions about a state with probabilities."""
    context = context_of(request)

    def translate(body: SystemOneBody) -> list[Decide]:
        return system_one_requests(body, context)

    body, asked = await service.read(request, SystemOneBody, translate)
    return system_one_answer(body, await service.decide(request, asked))


ROUTES = [decisions, system_one]
