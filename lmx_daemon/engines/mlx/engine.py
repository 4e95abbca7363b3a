"""The text engine as the shared worker program sees it: its imports, its threads and what a load sets up.

This module must not import MLX at the top: the import takes seconds, and the worker has to notice the daemon's end
meanwhile.
"""

import importlib.metadata
import os
import platform as system
import resource
from typing import Any

from lmx_daemon.contract.errors import EngineMissingError
from lmx_daemon.contract.worker.messages import Grant, Load
from lmx_daemon.engines.mlx.commands import Drop, Stop
from lmx_daemon.engines.mlx.install_hint import repair_command
from lmx_daemon.engines.mlx.text.prompts.prompt_thread import PromptThread
from lmx_daemon.worker.heartbeat import HeartbeatCounters
from lmx_daemon.worker.program import EngineInfo, SendFrame
from lmx_daemon.worker.template_child import TemplateChild


def open_engine(send: SendFrame, counters: HeartbeatCounters) -> "MlxEngine":
    """Import MLX and return the engine. Raises EngineMissingError."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        info = import_mlx()
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineMissingError(
            f"MLX is missing or broken: {error}", hint=f"repair it with: {repair_command()}"
        ) from error
    return MlxEngine(info, send, counters)


def import_mlx() -> EngineInfo:
    """Import MLX and mlx-lm, and return their versions, the backend and the device's memory."""
    real = resource.setrlimit
    resource.setrlimit = lambda *_: None  # mlx_lm lowers the limit of open files, soft and hard, when it is imported
    try:
        import mlx_lm  # noqa: F401

        from lmx_daemon.engines.mlx import platform
    finally:
        resource.setrlimit = real
    versions = {
        "python": system.python_version(),
        "mlx": importlib.metadata.version("mlx"),
        "mlx-lm": importlib.metadata.version("mlx-lm"),
    }
    backend = platform.backend()
    return EngineInfo("mlx-lm", versions, backend.describe(), backend.device_memory())


class MlxEngine:
    """The runner (engine thread), the prompt thread and the template child of one worker."""

    def __init__(self, info: EngineInfo, send: SendFrame, counters: HeartbeatCounters) -> None:
        from lmx_daemon.engines.mlx.runner import Runner

        self.info = info
        self._runner = Runner(send, counters, self._on_loaded)
        self._prompts = PromptThread(counters, send, self._runner.inbox.put)
        self._child: TemplateChild | None = None
        self._max_open = 0

    @property
    def capacity(self) -> int:
        """Number of requests that may be open at once; 0 until the model is loaded and warm."""
        return self._max_open if self._runner.serves else 0

    def run(self) -> None:
        """Run the engine thread until Stop."""
        self._runner.run()

    def prepare(self) -> None:
        """Turn prompts into tokens forever."""
        self._prompts.run()

    def command(self, frame: Load | Grant) -> None:
        """Put a frame into the engine thread's inbox."""
        self._runner.inbox.put(frame)

    def drop(self, identity: str) -> None:
        """Put the cancellation of a request into the engine thread's inbox."""
        self._runner.inbox.put(Drop(identity))

    def stop(self, flush_seconds: float) -> None:
        """Put Stop into the engine thread's inbox."""
        self._runner.inbox.put(Stop(flush_seconds=flush_seconds))

    def close(self) -> None:
        """End the children."""
        if self._child is not None:
            self._child.kill()
        if self._prompts.grammars is not None:
            self._prompts.grammars.kill()

    def _on_loaded(self, loaded: Any, command: Load) -> None:
        """Set up the prompt thread and the template child, which starts while the engine thread warms the model up."""
        from lmx_daemon.engines.mlx.grammar.compiler import GrammarCompiler
        from lmx_daemon.engines.mlx.prefix.cache_layout import can_be_cut
        from lmx_daemon.engines.mlx.text.prompts.prompt import PromptBuilder

        options = command.options
        if self._child is not None:  # it belongs to a load whose warm-up failed
            self._child.close()
        if self._prompts.grammars is not None:
            self._prompts.grammars.close()
        self._child = TemplateChild(options.template_seconds, options.template_memory_bytes)
        if loaded.capabilities.chat:
            self._child.start()
        self._max_open = options.max_running + options.max_waiting
        builder = PromptBuilder(
            loaded.tokenizer,
            loaded.capabilities.context_length,
            loaded.vocabulary,
            self._child,
            marks_opening=not can_be_cut(loaded.model),
            progress=self._prompts.progress,
            sanitize=options.sanitize_control_tokens,
        )
        self._prompts.loaded(builder, GrammarCompiler(loaded.tokenizer, loaded.vocabulary))
