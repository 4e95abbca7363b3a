"""Requests and runs of the benchmark against servers of different behaviour, on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from lmx_cli.bench.prompts import FEW, MANY, Scale, scale_from, words
from lmx_cli.bench.run import fit, run
from lmx_cli.bench.server import ServerUnderTest
from lmx_cli.bench.wire import Address, Exchange, fetch
from lmx_cli.bench.workloads import Interference, Prefix, RequestOptions, Streams
from lmx_daemon.contract.errors import LmxError, ModelNotFoundError, RequestError

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """Run a server that reads one complete request per connection and lets `serve` respond. Yields its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(x[15:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")), 0)
            await serve(head + await reader.readexactly(length), writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def event(content: str | None = None, **fields: object) -> bytes:
    choices = [] if content is None else [{"index": 0, "delta": {"content": content}}]
    return b"data: " + json.dumps({"choices": choices} | fields).encode() + b"\n\n"


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def exchange_with(url: str, seconds: float = 5.0) -> Exchange:
    exchange = Exchange(Address(url), "POST", "/chat/completions", {"stream": True})
    await exchange.send()
    await exchange.finished(seconds)
    return exchange


class TestWire:
    async def test_events_are_parsed_across_chunk_boundaries(self) -> None:
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}
        whole = event("") + event("Hé") + b": keep-alive\n\n" + event("llo") + event(usage=usage) + b"data: [DONE]\n\n"

        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(SSE)
            for position in range(len(whole)):
                writer.write(chunked(whole[position : position + 1]))
                await writer.drain()

        async with serving(serve) as url:
            response = (await exchange_with(url)).response
        assert response.error is None
        assert response.text == ["Hé", "llo"] and len(response.pieces) == 2
        assert (response.prompt_tokens, response.cached_tokens, response.tokens) == (5, 3, 7)
        assert response.sent < response.pieces[0] <= response.pieces[1] <= response.ended

    async def test_an_http_1_0_response_ends_with_the_connection(self) -> None:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event("x"))
            writer.write(b"data: [DONE]\n\n")

        async with serving(serve) as url:
            response = (await exchange_with(url)).response
        assert (response.error, response.text) == (None, ["x"])

    async def test_a_truncated_stream_is_an_error(self) -> None:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(SSE + chunked(event("x")))

        async with serving(serve) as url:
            response = (await exchange_with(url)).response
        assert response.error == "the connection closed before the end of the response"

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b'HTTP/1.1 429 Busy\r\nContent-Length: 32\r\n\r\n{"error":{"message":"too many"}}', "HTTP 429: too many"),
            (b"HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\noops", "HTTP 502: oops"),
            (b'HTTP/1.1 404 No\r\nContent-Length: 22\r\n\r\n{"detail":"Not Found"} ', "HTTP 404: Not Found"),
            (SSE + chunked(b'data: {"error": {"message": "it died"}}\n\n'), "it died"),
            (SSE + chunked(b"data: nonsense\n\n"), "an event of the stream does not follow the OpenAI format"),
            (SSE + b"0\r\n\r\n", "the stream ended without any text"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP/1"),
            (b"", "the connection closed before the end of the response"),
        ],
    )
    async def test_every_fault_has_an_error_message(self, answer: bytes, error: str) -> None:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        async with serving(serve) as url:
            found = (await exchange_with(url)).response.error
        assert found is not None and error in found

    async def test_a_silent_server_fails_after_the_timeout(self) -> None:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(3)

        async with serving(serve) as url:
            assert (await exchange_with(url, seconds=0.1)).response.error == "the response did not end within 0 s"

    async def test_cancel_closes_the_connection(self) -> None:
        closed = asyncio.Event()

        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(SSE)
            try:
                while True:
                    writer.write(chunked(event("x")))
                    await writer.drain()
                    await asyncio.sleep(0.005)
            except ConnectionError:
                closed.set()
                raise

        async with serving(serve) as url:
            exchange = Exchange(Address(url), "POST", "/chat/completions", {"stream": True})
            await exchange.send()
            whole = asyncio.create_task(exchange.finished(5))
            while not exchange.response.pieces:
                await asyncio.sleep(0.01)
            exchange.cancel()
            response = await whole
            await asyncio.wait_for(closed.wait(), 5)
        assert response.cancelled and response.error is None

    async def test_a_closed_port_is_reported_with_a_hint(self) -> None:
        with pytest.raises(
            LmxError, match=r"no server responds at http://127\.0\.0\.1:9/v1: connection refused"
        ) as caught:
            await fetch(Address("127.0.0.1:9"), "GET", "/models", None, None, 5)
        assert caught.value.hint

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
            ("http://x/v1/", "http://x/v1"),
            ("https://x/api", "https://x/api/v1"),
            ("http://[::1]:1", "http://[::1]:1/v1"),
            ("http://user:secret@x", "http://x/v1"),
        ],
    )
    def test_urls_are_normalised(self, given: str, expected: str) -> None:
        assert Address(given).url == expected

    @pytest.mark.parametrize("given", ["ftp://x", "http://", "http://x:99999", "http://x:port", ""])
    def test_invalid_urls_are_refused(self, given: str) -> None:
        with pytest.raises(RequestError):
            Address(given)


class StubServer:
    """Server that counts one token per word plus five, and generates `max_tokens` pieces."""

    def __init__(self, context: int | None = None) -> None:
        self.context = context
        self.bodies: list[dict[str, object]] = []

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            entry = {"id": "a/model"} | ({"max_context_length": self.context} if self.context else {})
            self._write(writer, 200, {"data": [entry]})
            return
        sent = json.loads(body)
        if sent["model"] != "a/model":
            self._write(writer, 404, {"error": {"message": "no such model"}})
            return
        prompt = sum(len(message["content"].split()) for message in sent["messages"]) + 5
        usage = {"prompt_tokens": prompt, "completion_tokens": sent["max_tokens"]}
        if not sent.get("stream"):
            self._write(writer, 200, {"choices": [], "usage": usage})
            return
        self.bodies.append(sent)
        writer.write(SSE)
        for _ in range(sent["max_tokens"]):
            writer.write(chunked(event("x ")))
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.write(chunked(event(usage=usage) + b"data: [DONE]\n\n"))

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)


class TestRun:
    async def test_prompts_have_the_requested_length_and_are_distinct(self) -> None:
        stub = StubServer()
        async with serving(stub) as url:
            found = await run([ServerUnderTest("x", url)], [Streams(4, 64, 3)], rounds=2, options=RequestOptions())
        test = found.tests[0]
        assert test.outcomes[0].median.prompt_tokens == 2 * 4 * 64
        assert test.outcomes[0].median.tokens == 2 * 4 * 3
        prompts = [body["messages"][0]["content"] for body in stub.bodies]  # type: ignore[index]
        assert len(set(prompts)) == len(prompts)
        assert found.targets[0].model == "a/model"

    async def test_two_servers_get_the_same_requests_in_turn(self) -> None:
        one, other = StubServer(), StubServer()
        workloads = [Streams(2, 16, 2), Prefix(40, 4), Interference(50, streams=2, answer_tokens=400)]
        async with serving(one) as first, serving(other) as second:
            servers = [ServerUnderTest("a", first), ServerUnderTest("b", second)]
            found = await run(servers, workloads, rounds=1, options=RequestOptions(), warm=False)
        assert [test.name for test in found.tests] == [
            "2 at once, 16 + 2",
            "prefix of 40: new",
            "prefix of 40: another question",
            "prefix of 40: the same again",
            "prefix of 40: second turn",
            "50 tokens into 2 streams: the streams",
            "50 tokens into 2 streams: the long one",
            "50 tokens into 2 streams: a short one behind it",
        ]
        for test in found.tests:
            assert [outcome.server for outcome in test.outcomes] == ["a", "b"]
            assert all(outcome.median.errors == 0 for outcome in test.outcomes)
        prompts = [[body["messages"] for body in each.bodies if body["max_tokens"] != 1] for each in (one, other)]
        assert prompts[0] == prompts[1]

    async def test_the_second_turn_contains_the_first_answer(self) -> None:
        stub = StubServer()
        async with serving(stub) as url:
            await run([ServerUnderTest("x", url)], [Prefix(40, 4)], rounds=1, options=RequestOptions(), warm=False)
        turn = stub.bodies[3]["messages"]
        assert turn[:2] == stub.bodies[0]["messages"] and turn[2]["content"] == "x x x x "  # type: ignore[index]

    async def test_seeds_and_temperature_are_sent_on_request(self) -> None:
        stub = StubServer()
        async with serving(stub) as url:
            options = RequestOptions(seed=3, temperature=0.7, send_seeds=True)
            workloads = [Streams(2, 16, 2, options=options)]
            await run([ServerUnderTest("x", url)], workloads, rounds=1, options=options, warm=False)
        assert [(body["seed"], body["temperature"]) for body in stub.bodies[:2]] == [(3, 0.7), (4, 0.7)]

    async def test_workloads_beyond_the_context_are_skipped_with_a_note(self) -> None:
        async with serving(StubServer(context=1000)) as url:
            workloads = [Streams(1, 16, 2), Prefix(1500)]
            found = await run([ServerUnderTest("x", url)], workloads, rounds=1, options=RequestOptions(), warm=False)
            with pytest.raises(LmxError, match="no workload fits"):
                fit([_with_context(url, 10)], [Streams(1, 16, 2)])
        assert [test.name for test in found.tests] == ["1 alone, 16 + 2"]
        assert found.notes and "prefix of 1500" in found.notes[0]

    async def test_an_unknown_model_error_lists_the_available_models(self) -> None:
        async with serving(StubServer()) as url:
            with pytest.raises(ModelNotFoundError, match="has no model 'b'") as caught:
                await ServerUnderTest("x", url, "b").prepare()
        assert caught.value.hint == "available: a/model"

    async def test_a_url_that_is_not_an_openai_server_is_refused(self) -> None:
        async def page(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")

        async with serving(page) as url:
            with pytest.raises(LmxError, match=r"the model to measure on .* is not named"):
                await ServerUnderTest("x", url).prepare()
            with pytest.raises(LmxError, match="is not a chat completion") as caught:
                await ServerUnderTest("x", url, "m").prepare()
        assert caught.value.hint is not None and "base URL" in caught.value.hint


def _with_context(url: str, context: int) -> ServerUnderTest:
    server = ServerUnderTest("x", url)
    server.context = context
    return server


class TestPrompts:
    def test_words_depend_only_on_their_key(self) -> None:
        assert words(20, "a") == words(20, "a") != words(20, "b")

    def test_the_scale_is_derived_from_two_prompts(self) -> None:
        scale = scale_from(few=7 + 2 * FEW, many=7 + 2 * MANY)
        assert scale.words(1007) == 500 and scale.words(1) == 1
        assert scale_from(0, 0) == Scale()
