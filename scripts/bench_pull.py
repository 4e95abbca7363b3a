"""Comparison of a pull, which verifies hashes, with huggingface_hub's snapshot_download, which does not.

    python scripts/bench_pull.py [--megabytes 512] [--rounds 5] [--folder DIR]

A fake Hub on loopback serves two large files and twenty small ones. The two programs run in turn, each in a new process
with an empty cache on the same disk. The script prints each round, the medians, and the ratio of the hub's seconds to
those of lmx. A ratio above 1 means that lmx is faster.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPO = "bench/model"
SMALL_FILES = 20
LEAST_RATIO = 0.9
"""Ratio below which the script fails."""

HUB = """
import sys, time
from huggingface_hub import snapshot_download
import huggingface_hub.hf_api
from huggingface_hub.utils import disable_progress_bars
disable_progress_bars()
begun = time.perf_counter()
snapshot_download(sys.argv[1])
print(time.perf_counter() - begun)
"""
LMX = """
import asyncio, os, resource, sys, time
from pathlib import Path
import huggingface_hub.hf_api
from lmx_daemon.settings.schema import LibrarySettings
from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.library.pull.pull_queue import PullQueue
async def main():
    pulls = PullQueue(lambda: LibrarySettings(reserve_bytes=0), os.environ, Path(sys.argv[2]))
    begun = time.perf_counter()
    job = await pulls.start(PullRequest(repo=sys.argv[1]))
    async for job in pulls.watch(job.id):
        pass
    print(time.perf_counter() - begun)
    assert job.state == "done", job.error
    await pulls.close()
asyncio.run(main())
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure; default: the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        place = Path(name)
        make_repository(place / "hub" / REPO, options.megabytes)
        command = [sys.executable, str(ROOT / "tests" / "fakehub.py"), str(place / "hub")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            endpoint = f"http://127.0.0.1:{server.stdout.readline().split()[1]}"
            # The first listing makes the fake Hub hash its files, which must not be part of the measurement.
            urllib.request.urlopen(f"{endpoint}/api/models/{REPO}/tree/main").read()
            return compare(place, endpoint, options.rounds, options.megabytes)
        finally:
            server.terminate()
            server.communicate()


def make_repository(folder: Path, megabytes: int) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    for number in range(SMALL_FILES):
        (folder / f"small-{number}.json").write_bytes(os.urandom(20_000))
    for number in (1, 2):
        with (folder / f"model-0000{number}-of-00002.safetensors").open("wb") as file:
            for _ in range(megabytes // 2):
                file.write(os.urandom(1_000_000))


def compare(place: Path, endpoint: str, rounds: int, megabytes: int) -> int:
    seconds: dict[str, list[float]] = {"hub": [], "lmx": []}
    for number in range(rounds + 1):
        for name, program in (("hub", HUB), ("lmx", LMX)):
            took = once(place, endpoint, program)
            if number:  # the first round warms the page cache
                seconds[name].append(took)
                print(f"round {number}  {name}  {took:6.2f} s  {megabytes / took:6.0f} MB/s", flush=True)
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    ratio = medians["hub"] / medians["lmx"]
    print(f"median   hub  {medians['hub']:6.2f} s   lmx  {medians['lmx']:6.2f} s   ratio {ratio:.2f}")
    return 0 if ratio >= LEAST_RATIO else 1


def once(place: Path, endpoint: str, program: str) -> float:
    cache, records = place / "cache", place / "records"
    os.sync()
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", program, REPO, str(records)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    shutil.rmtree(cache, ignore_errors=True)
    shutil.rmtree(records, ignore_errors=True)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return float(ended.stdout.split()[-1])


if __name__ == "__main__":
    sys.exit(main())
