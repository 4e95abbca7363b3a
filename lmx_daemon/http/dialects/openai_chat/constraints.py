"""The constraint of a request: `response_format`, or one of the `guided_` fields."""

from lmx_daemon.contract.errors import RequestError
from lmx_daemon.contract.generation.constraint import Constraint, Grammar, JsonSchema, Regex, TextChoice
from lmx_daemon.http.dialects.json_limits import check_json
from lmx_daemon.http.dialects.openai_chat.bodies import Body, ResponseFormat


def constraint(body: Body, response_format: ResponseFormat | None = None) -> Constraint | None:
    """Return the constraint of a request, or None. Raise RequestError for an unknown form, or for several."""
    found = [each for each in (_of_format(response_format), *_guided(body)) if each is not None]
    if len(found) > 1:
        raise RequestError(f"{found[0].param} and {found[1].param} exclude each other", param=found[1].param)
    return found[0] if found else None


def _of_format(given: ResponseFormat | None) -> JsonSchema | None:
    match given:
        case None | ResponseFormat(type="text"):
            return None
        case ResponseFormat(type="json_object"):
            return JsonSchema(schema={"type": "object"})
        case ResponseFormat(type="json_schema", json_schema=None):
            raise RequestError("response_format: json_schema is missing", param="response_format.json_schema")
        case ResponseFormat(type="json_schema", json_schema=named) if named is not None:
            schema = {"type": "object"} if named.schema is None else named.schema
            check_json(schema, "response_format.json_schema.schema")
            return JsonSchema(schema=schema, param="response_format.json_schema.schema")
        case _:
            raise RequestError(
                f"response_format: type {given.type!r} is not known; use 'text', 'json_object' or 'json_schema'",
                param="response_format.type",
            )


def _guided(body: Body) -> list[Constraint]:
    found: list[Constraint] = []
    if body.guided_regex is not None:
        found.append(Regex(pattern=body.guided_regex, param="guided_regex"))
    if body.guided_choice is not None:
        found.append(TextChoice(choices=tuple(body.guided_choice), param="guided_choice"))
    if body.guided_grammar is not None:
        found.append(Grammar(lark=body.guided_grammar, param="guided_grammar"))
    return found
