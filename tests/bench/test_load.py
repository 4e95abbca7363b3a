"""The load generator against servers of every manner, on real sockets."""

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
    """A server that reads one request whole and lets `serve` answer it."""

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


async def ask(url: str, seconds: float = 5.0) -> Exchange:
    exchange = Exchange(Address(url), "POST", "/chat/completions", {"stream": True})
    await exchange.send()
    await exchange.finished(seconds)
    return exchange


class TestWire:
    async def test_events_split_anywhere_are_whole(self) -> None:
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}}
        whole = event("") + event("Hé") + b": keep-alive\n\n" + event("llo") + event(usage=usage) + b"data: [DONE]\n\n"

        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(SSE)
            for position in range(len(whole)):
                writer.write(chunked(whole[position : position + 1]))
                await writer.drain()

        async with serving(serve) as url:
            answer = (await ask(url)).answer
        assert answer.error is None
        assert answer.text == ["Hé", "llo"] and len(answer.pieces) == 2
        assert (answer.prompt_tokens, answer.cached_tokens, answer.tokens) == (5, 3, 7)
        assert answer.sent < answer.pieces[0] <= answer.pieces[1] <= answer.ended

    async def test_http_1_0_ends_with_the_connection(self) -> None:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event("x"))
            writer.write(b"data: [DONE]\n\n")

        async with serving(serve) as url:
            answer = (await ask(url)).answer
        assert (answer.error, answer.text) == (None, ["x"])

    async def test_a_stream_that_breaks_off_has_failed(self) -> None:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(SSE + chunked(event("x")))

        async with serving(serve) as url:
            answer = (await ask(url)).answer
        assert answer.error == "the connection closed before the answer's end"

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (b'HTTP/1.1 429 Busy\r\nContent-Length: 32\r\n\r\n{"error":{"message":"too many"}}', "HTTP 429: too many"),
            (b"HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\noops", "HTTP 502: oops"),
            (b'HTTP/1.1 404 No\r\nContent-Length: 22\r\n\r\n{"detail":"Not Found"} ', "HTTP 404: Not Found"),
            (SSE + chunked(b'data: {"error": {"message": "it died"}}\n\n'), "it died"),
            (SSE + chunked(b"data: nonsense\n\n"), "an event of the stream is not OpenAI's"),
            (SSE + b"0\r\n\r\n", "the stream ended without an answer"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP/1 server"),
            (b"", "the connection closed before the answer's end"),
        ],
    )
    async def test_every_fault_has_a_word(self, answer: bytes, error: str) -> None:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)

        async with serving(serve) as url:
            found = (await ask(url)).answer.error
        assert found is not None and error in found

    async def test_silence_has_a_limit(self) -> None:
        async def serve(request: bytes, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(3)

        async with serving(serve) as url:
            assert (await ask(url, seconds=0.1)).answer.error == "no end within 0 s"

    async def test_cutting_closes_the_connection(self) -> None:
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
            while not exchange.answer.pieces:
                await asyncio.sleep(0.01)
            exchange.cut()
            answer = await whole
            await asyncio.wait_for(closed.wait(), 5)
        assert answer.cut and answer.error is None

    async def test_nobody_there(self) -> None:
        with pytest.raises(
            LmxError, match=r"no server answers at http://127\.0\.0\.1:9/v1: connection refused"
        ) as caught:
            await fetch(Address("127.0.0.1:9"), "GET", "/models", None, None, 5)
        assert caught.value.hint

    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            ("127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
            ("http://x/v1/", "http://x/v1"),
            ("https://x/api", "https://x/api/v1"),
            ("http://[::1]:1", "http://[::1]:1/v1"),
            ("http://user:secret@x", "http://x/v1"),
        ],
    )
    def test_addresses(self, given: str, meant: str) -> None:
        assert Address(given).url == meant

    @pytest.mark.parametrize("given", ["ftp://x", "http://", "http://x:99999", "http://x:port", ""])
    def test_what_is_no_address(self, given: str) -> None:
        with pytest.raises(RequestError):
            Address(given)


class Pretender:
    """A server that counts words as tokens, one each and five more, and answers `max_tokens` pieces."""

    def __init__(self, context: int | None = None) -> None:
        self.context = context
        self.bodies: list[dict[str, object]] = []

    async def __call__(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            entry = {"id": "a/model"} | ({"max_context_length": self.context} if self.context else {})
            self._write(writer, 200, {"data": [entry]})
            return
        asked = json.loads(body)
        if asked["model"] != "a/model":
            self._write(writer, 404, {"error": {"message": "no such model"}})
            return
        prompt = sum(len(message["content"].split()) for message in asked["messages"]) + 5
        usage = {"prompt_tokens": prompt, "completion_tokens": asked["max_tokens"]}
        if not asked.get("stream"):
            self._write(writer, 200, {"choices": [], "usage": usage})
            return
        self.bodies.append(asked)
        writer.write(SSE)
        for _ in range(asked["max_tokens"]):
            writer.write(chunked(event("x ")))
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.write(chunked(event(usage=usage) + b"data: [DONE]\n\n"))

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)


class TestRun:
    async def test_prompts_are_as_long_as_asked_and_never_alike(self) -> None:
        pretender = Pretender()
        async with serving(pretender) as url:
            found = await run([ServerUnderTest("x", url)], [Streams(4, 64, 3)], rounds=2, load=RequestOptions())
        test = found.tests[0]
        assert test.outcomes[0].median.prompt_tokens == 2 * 4 * 64
        assert test.outcomes[0].median.tokens == 2 * 4 * 3
        asked = [body["messages"][0]["content"] for body in pretender.bodies]  # type: ignore[index]
        assert len(set(asked)) == len(asked)
        assert found.targets[0].model == "a/model"

    async def test_two_servers_get_the_same_in_turn(self) -> None:
        one, other = Pretender(), Pretender()
        loads = [Streams(2, 16, 2), Prefix(40, 4), Interference(50, streams=2, answer_tokens=400)]
        async with serving(one) as first, serving(other) as second:
            servers = [ServerUnderTest("a", first), ServerUnderTest("b", second)]
            found = await run(servers, loads, rounds=1, load=RequestOptions(), warm=False)
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

    async def test_a_second_turn_holds_the_first_answer(self) -> None:
        pretender = Pretender()
        async with serving(pretender) as url:
            await run([ServerUnderTest("x", url)], [Prefix(40, 4)], rounds=1, load=RequestOptions(), warm=False)
        turn = pretender.bodies[3]["messages"]
        assert turn[:2] == pretender.bodies[0]["messages"] and turn[2]["content"] == "x x x x "  # type: ignore[index]

    async def test_seeds_and_temperature_are_sent_when_asked_for(self) -> None:
        pretender = Pretender()
        async with serving(pretender) as url:
            load = RequestOptions(seed=3, temperature=0.7, seeded=True)
            await run([ServerUnderTest("x", url)], [Streams(2, 16, 2, load=load)], rounds=1, load=load, warm=False)
        assert [(body["seed"], body["temperature"]) for body in pretender.bodies[:2]] == [(3, 0.7), (4, 0.7)]

    async def test_what_a_context_cannot_hold_is_left_out_and_said(self) -> None:
        async with serving(Pretender(context=1000)) as url:
            workloads = [Streams(1, 16, 2), Prefix(1500)]
            found = await run([ServerUnderTest("x", url)], workloads, rounds=1, load=RequestOptions(), warm=False)
            with pytest.raises(LmxError, match="no workload fits"):
                fit([_with_context(url, 10)], [Streams(1, 16, 2)])
        assert [test.name for test in found.tests] == ["1 alone, 16 + 2"]
        assert found.notes and "prefix of 1500" in found.notes[0]

    async def test_an_unknown_model_is_named_with_those_there_are(self) -> None:
        async with serving(Pretender()) as url:
            with pytest.raises(ModelNotFoundError, match="has no model 'b'") as caught:
                await ServerUnderTest("x", url, "b").prepare()
        assert caught.value.hint == "there are: a/model"

    async def test_something_else_behind_the_url(self) -> None:
        async def page(request: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")

        async with serving(page) as url:
            with pytest.raises(LmxError, match="which model"):
                await ServerUnderTest("x", url).prepare()
            with pytest.raises(LmxError, match="is no chat completion") as caught:
                await ServerUnderTest("x", url, "m").prepare()
        assert caught.value.hint is not None and "base URL" in caught.value.hint


def _with_context(url: str, context: int) -> ServerUnderTest:
    server = ServerUnderTest("x", url)
    server.context = context
    return server


class TestPrompts:
    def test_words_depend_on_their_key_alone(self) -> None:
        assert words(20, "a") == words(20, "a") != words(20, "b")

    def test_a_scale_is_learnt_from_two_prompts(self) -> None:
        scale = scale_from(few=7 + 2 * FEW, many=7 + 2 * MANY)
        assert scale.words(1007) == 500 and scale.words(1) == 1
        assert scale_from(0, 0) == Scale()
