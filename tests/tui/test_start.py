"""Modules that must not be imported before the first paint."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


HEAVY = ("numpy", "huggingface_hub", "pygments", "mlx", "transformers", "litestar", "uvicorn", "rich.markdown")


def test_first_paint_imports_no_heavy_module() -> None:
    program = f"""
import asyncio, sys
from lmx_daemon.settings.schema import Settings
from lmx_tui.app import LmxApp
from tests.fake_client import FakeClient
from tests.screen_states import busy_snapshot
async def main():
    async with LmxApp(FakeClient(busy_snapshot()), Settings()).run_test() as pilot:
        await pilot.pause()
        await pilot.press("f3")
        await pilot.press("f4")
asyncio.run(main())
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
