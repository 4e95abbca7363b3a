"""The servers that lmx is compared with. Each is started as its documentation recommends, with the same BLAS library.

mlx_lm.server runs in lmx's virtual environment. mlx_vlm.server gets a virtual environment of its own, which is created
on first use.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lmx_cli.bench.figures import RoundResponses
from lmx_cli.bench.own import resident
from lmx_cli.bench.server import ServerUnderTest
from lmx_cli.bench.wire import TimedResponse
from lmx_cli.bench.workloads import Streams
from lmx_daemon.residency.workers.environment import worker_environment
from tests.end_to_end.running import Daemon

MLX_VLM = "0.7.10"
VLM_HOME = Path(os.environ.get("LMX_BENCH_VLM", "~/.cache/lmx-bench/venv-vlm")).expanduser()
INSTALL_SECONDS = 900
START_SECONDS = 120
OURS, LM, VLM, DIRECT = "lmx", "mlx_lm.server", "mlx_vlm.server", "in process"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(cache: Path) -> dict[str, str]:
    """Return the environment of every measured process: offline, with OpenBLAS preloaded and without PYTHONPATH."""
    variables = worker_environment(os.environ) | {"HF_HOME": str(cache.parent / "hf"), "HF_HUB_CACHE": str(cache)}
    variables.pop("PYTHONPATH", None)
    return variables


class LmxServer:
    """lmx daemon with a home of its own, which survives `halt`."""

    def __init__(self, cache: Path) -> None:
        self.daemon = Daemon(environment={"HF_HUB_CACHE": str(cache)})

    def __enter__(self) -> "LmxServer":
        self.daemon.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.daemon.stop()

    def halt(self) -> None:
        """Stop the daemon as `lmx stop` does, and keep its home."""
        assert self.daemon.process is not None
        self.daemon.process.terminate()
        self.daemon.process.wait(60)

    def server(self, model: str) -> ServerUnderTest:
        self.daemon.admin("POST", "/admin/models/load", {"model": model})
        status = self.daemon.admin("GET", "/admin/status")
        return ServerUnderTest(
            OURS,
            self.daemon.address,
            model,
            memory=_probe(status["pid"]),
            versions=status.get("versions"),
            backend=status.get("backend", ""),
            software=f"lmx {status['version']}",
        )


class Peer:
    """Process of another server, on a free port."""

    def __init__(self, name: str, command: Sequence[str], model: Path, cache: Path, versions: dict[str, str]) -> None:
        self.name = name
        self._model = model
        self._versions = versions
        self._port = free_port()
        self._log = cache.parent / f"{name}.log"
        self._command = [*command, "--model", str(model), "--host", "127.0.0.1", "--port", str(self._port)]
        self._environment = environment(cache)

    def __enter__(self) -> "Peer":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return self
            time.sleep(0.1)
        log_text = self._log.read_text(errors="replace")[-2000:]
        self.__exit__(None, None, None)
        raise SystemExit(f"{self.name} did not start:\n{log_text}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def server(self) -> ServerUnderTest:
        return ServerUnderTest(
            self.name,
            f"http://127.0.0.1:{self._port}",
            str(self._model),
            memory=_probe(self._process.pid),
            versions=self._versions,
            software=self.name,
            takes_seeds=False,
        )


def _probe(pid: int) -> Any:
    async def probe() -> int | None:
        return resident(pid)

    return probe


def mlx_lm_server(model: Path, cache: Path) -> Peer:
    return Peer(LM, [sys.executable, "-m", "mlx_lm", "server"], model, cache, versions_of(Path(sys.executable)))


def mlx_vlm_server(model: Path, cache: Path) -> Peer | None:
    """Return mlx_vlm.server, or print the reason and return None if its environment cannot be created."""
    python = VLM_HOME / "bin" / "python"
    if not python.exists() or "mlx-vlm" not in versions_of(python):
        print(f"creating {VLM_HOME} for mlx-vlm {MLX_VLM} (about 1.1 GB) ...", file=sys.stderr)
        try:
            install_mlx_vlm(python)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"mlx_vlm.server is skipped: installation failed ({error})", file=sys.stderr)
            return None
    return Peer(VLM, [str(python), "-m", "mlx_vlm.server"], model, cache, versions_of(python))


def install_mlx_vlm(python: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(VLM_HOME)], check=True, timeout=INSTALL_SECONDS)
    mlx = versions_of(Path(sys.executable))["mlx"]
    wanted = f"mlx=={mlx}" if sys.platform == "darwin" else f"mlx[cpu]=={mlx}"
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    try:
        subprocess.run([*pip, wanted, f"mlx-vlm=={MLX_VLM}"], check=True, timeout=INSTALL_SECONDS)
    except (subprocess.SubprocessError, OSError):
        shutil.rmtree(VLM_HOME, ignore_errors=True)
        raise


def versions_of(python: Path) -> dict[str, str]:
    code = (
        "import json; from importlib.metadata import version, PackageNotFoundError as N\nfound = {}\n"
        "for name in ('mlx', 'mlx-lm', 'mlx-vlm', 'transformers'):\n"
        "    try: found[name] = version(name)\n    except N: pass\nprint(json.dumps(found))"
    )
    ended = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=60)
    found: dict[str, str] = json.loads(ended.stdout) if ended.returncode == 0 else {}
    return found


class InProcess(ServerUnderTest):
    """mlx-lm without a server, as an upper bound for the speed of any server.

    The child process answers each line of input with one line of JSON. With `loaded=False` it has imported mlx-lm and
    loaded no model.
    """

    def __init__(self, model: Path, cache: Path, loaded: bool = True) -> None:
        super().__init__(DIRECT, "http://127.0.0.1:1", "in process", versions=versions_of(Path(sys.executable)))
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "in_process.py"), str(model), *([] if loaded else ["bare"])],
            env=environment(cache),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.memory = _probe(self._process.pid)

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    async def prepare(self) -> None:
        self.call("nothing")

    async def settle(self) -> None:
        return None

    def call(self, *words: object) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def burst(self, streams: int, prompt: int, answer: int) -> list[TimedResponse]:
        times = self.call("burst", streams, prompt, answer)
        return [TimedResponse(pieces=stream, ended=stream[-1], completion_tokens=len(stream)) for stream in times]


class StreamsAnywhere(Streams):
    """Streams that also run on mlx-lm in process."""

    async def round(self, server: ServerUnderTest, key: str) -> list[RoundResponses]:
        if not isinstance(server, InProcess):
            return await super().round(server, key)
        responses = server.burst(self.streams, self.prompt_tokens, self.answer_tokens)
        return [RoundResponses(self.name, responses, None, self.streams, self.prompt_tokens, self.answer_tokens)]
