"""The public port over a fake worker that gives each stream two tokens a second. `bench_daemon.py` starts it.

python scripts/slow_server.py raised|default
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from lmx_daemon.contract.generation.events import Delta, Ending, Event, Finished, Started, Usage
from lmx_daemon.contract.models import Model
from lmx_daemon.contract.worker.messages import Cancel, EngineKind, Load, Submit, ToWorker
from lmx_daemon.http.server.connections import ConnectionLimit
from lmx_daemon.http.server.listeners import bind_public, url_of
from lmx_daemon.http.server.open_files import connections_within, raise_limit
from lmx_daemon.http.server.uvicorn_server import UvicornServer
from lmx_daemon.residency.incidents import Incidents
from lmx_daemon.residency.measured import Measurements
from lmx_daemon.residency.pool import Pool
from lmx_daemon.settings.schema import EngineSettings, ServerSettings, Settings
from lmx_daemon.settings.source import SettingsSource
from tests.http.asgi import public_app_over
from tests.residency.fakes import TWO_FIT, FakeMachine, FakeWorker

TOKENS = 20
RATE = 2.0
"""Tokens a second of each stream."""


class SlowWorker(FakeWorker):
    """A worker that loads by itself and gives each request RATE tokens a second, TOKENS in all."""

    def __init__(self, pid: int, loop: Any) -> None:
        super().__init__(pid, loop)
        self.given: dict[str, int] = {}
        self._ticking = False

    def send(self, message: ToWorker) -> None:
        """Take a message of the daemon; nothing is kept."""
        loop = asyncio.get_running_loop()
        match message:
            case Load():
                self.sent = [message]
                loop.call_soon(self.load)
            case Submit(request=request):
                self.given[request.id] = 0
                loop.call_soon(self.emit, Started(id=request.id, prompt_tokens=1, cached_tokens=0, seed=1))
                if not self._ticking:
                    self._ticking = True
                    loop.call_later(1 / RATE, self._tick)
            case Cancel(id=name):
                if self.given.pop(name, None) is not None:
                    loop.call_soon(self.emit, Finished(id=name, endings=(Ending(reason="cancelled"),)))

    def _tick(self) -> None:
        """Give each request one token, all in one step as an engine does."""
        events: list[Event] = []
        for name in list(self.given):
            self.given[name] += 1
            events.append(Delta(id=name, content="word ", tokens=1))
            if self.given[name] == TOKENS:
                del self.given[name]
                usage = Usage(prompt_tokens=1, completion_tokens=TOKENS)
                events.append(Finished(id=name, endings=(Ending(reason="length"),), usage=usage))
        if events:
            self.emit(*events)
        self._ticking = bool(self.given)
        if self._ticking:
            asyncio.get_running_loop().call_later(1 / RATE, self._tick)


async def serve(raised: bool) -> None:
    """Serve until standard input ends. The first line of standard output is the URL."""
    raise_limit()
    server = ServerSettings(max_connections=4096, max_queued=2000) if raised else ServerSettings()
    engine = EngineSettings(warm_spare=False, max_running=2000) if raised else EngineSettings(warm_spare=False)
    source = SettingsSource(Settings(server=server, engine=engine))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fake").mkdir()

        async def start(name: str, kind: EngineKind) -> Any:
            return SlowWorker(1000, pool.background)

        pool = Pool(
            source,
            find=lambda name: Model(id="fake", path=str(folder / "fake"), source="folder"),
            clear=lambda model: False,
            start=start,
            host=FakeMachine(TWO_FIT, folder),  # type: ignore[arg-type]
            measurements=Measurements(folder / "measured.json"),
            prefixes=folder / "prefix",
            incidents=Incidents(lambda name, log: None),
        )
        pool.open()
        sockets = bind_public("127.0.0.1", 0)
        fields = {name: getattr(server, name) for name in server.__struct_fields__}
        app = public_app_over(pool, folder=folder, address=url_of(sockets[0]), **fields)
        limit = ConnectionLimit(lambda: connections_within(server.max_connections))
        running = UvicornServer(app, lambda: 30.0, limit)
        task = asyncio.create_task(running.serve(sockets=sockets))
        print(url_of(sockets[0]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        running.should_exit = True
        await task
        await pool.close()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1] == "raised"))
