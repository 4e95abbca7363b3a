"""Screenshots for the README (docs/pictures/*.png): the real TUI with a real daemon and lmx/guide.

    python scripts/screenshots.py [--scripted]

If no daemon can be started, or with --scripted, a scripted client is used, and the script prints a notice.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from lmx_daemon.client.client import Client
from lmx_daemon.client.spawn import start_daemon
from lmx_daemon.contract.admin.protocol import LoadRequest
from lmx_daemon.contract.errors import LmxError
from lmx_daemon.contract.generation.requests import Chat, Generate, Message, Sampling, TextPart
from lmx_daemon.contract.models import GUIDE
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
from tests.cellshot import save
from tests.fake_client import FakeClient
from tests.screen_states import answer_of, busy_snapshot
from tests.tui.conftest import ask, settled

PICTURES = ROOT / "docs" / "pictures"
SIZE = (120, 36)
BUSY_SECONDS = 40.0
QUESTIONS = ("What is lmx?", "How do I pull a model?")
OTHERS = (
    "How do I load a model?",
    "How do I pull a model?",
    "How do I unload a model?",
    "What does error 429 mean?",
    "Write the curl command for a chat.",
)


async def ask_in_background(client: Client, name: str, delay: float) -> None:
    """Send one question after the other, as another program would."""
    await asyncio.sleep(delay)
    number = 0
    while True:
        text = OTHERS[number % len(OTHERS)]
        request = Generate(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            model=GUIDE,
            prompt=Chat(messages=(Message(role="user", content=(TextPart(text=text),)),)),
            sampling=Sampling(temperature=0.8),
            max_tokens=200,
            client=name,
            route="/admin/generate",
        )
        async for _ in client.generate(request):
            pass
        number += 1
        await asyncio.sleep(0.8 * ((number * 7) % 10) / 10)


async def pictures(client: Client, wait: float) -> None:
    app = LmxApp(client, Settings())
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await asyncio.sleep(wait)
        for question in QUESTIONS:
            await ask(pilot, question)
            await asyncio.sleep(min(wait, 4.0))
        await asyncio.sleep(min(wait, 2.0))
        await settled(pilot)
        save(app, PICTURES / "chat.png")
        for key, name in (("f4", "monitor"), ("f2", "models")):
            await pilot.press(key)
            await settled(pilot)
            await asyncio.sleep(min(wait, 1.0))
            await settled(pilot)
            save(app, PICTURES / f"{name}.png")


async def from_daemon() -> None:
    folder = Path(tempfile.mkdtemp(prefix="lmx-", dir="/tmp"))
    home = Home(folder)
    os.environ["HF_HUB_CACHE"] = str(folder / "hub")  # keeps other models of this machine out of the pictures
    tasks: list[asyncio.Task[None]] = []
    try:
        status = await start_daemon(home, ["--port", "0"])
        print(f"using the daemon at {status.address}")
        async with Client(home.socket) as client, Client(home.socket) as another:
            try:
                async for _ in client.load(LoadRequest(model=GUIDE)):
                    pass
                for number, name in enumerate(("opencode", "python-openai", "curl/8.5", "zed")):
                    tasks.append(asyncio.create_task(ask_in_background(another, name, number * 5.0)))
                await pictures(client, BUSY_SECONDS)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await client.shutdown()
    finally:
        await asyncio.sleep(1.0)
        shutil.rmtree(folder, ignore_errors=True)


async def scripted() -> None:
    print("using a scripted client: the pictures do not show a real daemon")
    await pictures(FakeClient(busy_snapshot(), answer_of("lmx runs MLX models on your machine.")), 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripted", action="store_true")
    run: Callable[[], Coroutine[Any, Any, None]] = scripted if parser.parse_args().scripted else from_daemon
    try:
        asyncio.run(run())
    except LmxError as error:
        print(f"no daemon: {error.message}", file=sys.stderr)
        asyncio.run(scripted())
    print(f"written to {PICTURES.relative_to(ROOT)}: {', '.join(sorted(path.name for path in PICTURES.glob('*.png')))}")


if __name__ == "__main__":
    main()
