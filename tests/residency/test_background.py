"""Tasks that nobody awaits: what goes wrong in one is told, and what was cancelled is not."""

import asyncio

from lmx_daemon.residency.background import Background


async def test_what_one_raises_is_told_and_the_others_go_on() -> None:
    told: list[str] = []
    background = Background(told.append)
    done = asyncio.Event()

    async def fails() -> None:
        raise OSError("no file to spare")

    async def works() -> None:
        await asyncio.sleep(0.01)
        done.set()

    background.run(fails())
    background.run(works())
    await asyncio.wait_for(done.wait(), 5)
    assert told == ["OSError: no file to spare"]


async def test_the_cancelled_are_silent() -> None:
    told: list[str] = []
    background = Background(told.append)
    background.run(asyncio.sleep(60))
    await asyncio.sleep(0)
    background.cancel()
    await asyncio.sleep(0.01)
    assert told == []
