"""OpenAI's bodies in our words."""

from lmx_daemon.contract.generation import Chat
from lmx_daemon.http.errors import decode
from lmx_daemon.http.openai_bodies import ChatBody, CompletionBody
from lmx_daemon.http.openai_requests import chat_request, completion_request


def test_lmxs_own_fields_reach_the_engine() -> None:
    own = b'"deadline": 9, "queue_deadline": 2.5, "priority": -3, "cache_namespace": "team"'
    own += b', "keep_alive": "1m", "stop_token_ids": [5]'
    body = decode(b'{"model": "m", "prompt": "x", ' + own + b"}", CompletionBody)
    asked = completion_request(body, "r", "http", "curl")
    assert (asked.deadline, asked.queue_deadline, asked.priority) == (9.0, 2.5, -3)
    assert (asked.cache_namespace, asked.ttl) == ("team", 60.0)
    assert asked.stop_tokens == (5,)


def test_every_name_of_the_thinking_switch_is_understood() -> None:
    def asked(arguments: bytes) -> Chat:
        body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": %b}' % arguments
        prompt = chat_request(decode(body, ChatBody), "r", "http", "curl").prompt
        assert isinstance(prompt, Chat)
        return prompt

    for name in ("enable_thinking", "thinking", "reasoning"):
        assert asked(b'{"%b": false}' % name.encode()).thinking is False
    assert asked(b'{"thinking_budget": 512}').template_arguments == {"thinking_budget": 512}
