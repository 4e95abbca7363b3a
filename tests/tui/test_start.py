"""Modules that must not be imported before the first paint."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


HEAVY = (
    "numpy",
    "httpx2",
    "huggingface_hub",
    "pygments",
    "mlx",
    "transformers",
    "litestar",
    "uvicorn",
    "rich.markdown",
)


def test_first_paint_imports_no_heavy_module(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from lmx_daemon.settings.paths import Home
from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
from lmx_tui.demo.client import DemoClient
async def main():
    async with LmxApp(DemoClient(Home(Path({str(tmp_path)!r}))), Settings()).run_test() as pilot:
        await pilot.pause()
        await pilot.press("f3")
        await pilot.press("f4")
asyncio.run(main())
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_first_paint_comes_before_the_import_of_the_http_client() -> None:
    program = """
import asyncio, sys
from pathlib import Path
from lmx_daemon.client.client import Client
from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
seen = []
painted = LmxApp._display
def display(self, screen, renderable):
    seen.append("httpx2" in sys.modules)
    painted(self, screen, renderable)
LmxApp._display = display
async def main():
    async with LmxApp(Client(Path("/nonexistent/lmx.sock")), Settings()).run_test() as pilot:
        while "httpx2" not in sys.modules:
            await pilot.pause(0.01)
asyncio.run(main())
print(seen[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stdout + done.stderr
