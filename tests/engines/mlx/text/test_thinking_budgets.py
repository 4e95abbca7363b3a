"""Budgets of thinking for families whose markers of thinking mlx-lm does not know, by models with random weights."""

from pathlib import Path

import pytest

from lmx_daemon.contract.generation.events import Finished
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, TextPart
from lmx_daemon.contract.worker.messages import Loaded
from tests.engines.mlx.worker_process import WorkerProcess, sampled
from tests.models import TEMPLATE, build_model


def opened(marker: str) -> str:
    """Return a template whose prompts end in an open thinking block."""
    return TEMPLATE.replace("<|im_start|>assistant\n", f"<|im_start|>assistant\n{marker}")


SEED = ("<seed:tool_call>", "</seed:tool_call>", "<seed:think>", "</seed:think>")
APERTUS = ("<|tools_prefix|>", "<|tools_suffix|>", "<|inner_prefix|>", "<|inner_suffix|>")
MODELS = {
    "seed_oss": (SEED, opened("<seed:think>") + "{#- tools <seed:tool_call> <seed:think> </seed:think> -#}"),
    "apertus": (APERTUS, opened("<|inner_prefix|>") + "{#- tools <|inner_prefix|> <|inner_suffix|> -#}"),
}


@pytest.mark.parametrize("family", MODELS)
def test_thinking_ends_at_its_budget(family: str, tmp_path: Path) -> None:
    special, template = MODELS[family]
    build_model("llama", tmp_path, special=special, template=template)
    message = Message(role="user", content=(TextPart(text="hello"),))
    with WorkerProcess() as worker:
        loaded = worker.load(tmp_path)
        assert isinstance(loaded, Loaded) and loaded.capabilities.tool_parser == family
        assert loaded.capabilities.thinking
        for budget in (0, 7):
            request = Generate(
                id=worker.name(),
                model="m",
                prompt=Chat(messages=(message,)),
                max_tokens=60,
                thinking_budget=budget,
                sampling=sampled(temperature=1.0, seed=budget),
            )
            (end,) = worker.finish(worker.submit(request))
            assert isinstance(end, Finished) and end.usage.reasoning_tokens <= budget
            assert worker.text(request.id), "the answer goes on behind the thinking"
