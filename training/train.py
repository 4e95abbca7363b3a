"""Training of lmx/guide on two CPU cores: `python -m training.train FOLDER`. It continues after a kill.

LD_PRELOAD=libopenblas.so.0 OPENBLAS_NUM_THREADS=1 nice -n 19 python -m training.train FOLDER [--minutes N]
python -m training.train FOLDER --install
"""

import argparse
import shutil
import signal
import time
from pathlib import Path

import mlx.core as mx

from training.evaluate import glance, other_questions
from training.facts.topics import all_topics
from training.inference import GUIDE, Guide
from training.plan import GUIDE_PLAN
from training.record import TRAINED, TrainingRecord
from training.run import LOGGED, TrainingRun

CHECKPOINT_SECONDS = 180.0
EVALUATED = 1500
"""Steps from one evaluation to the next."""


def train(run: TrainingRun, minutes: float | None) -> None:
    """Train until the run is finished, SIGTERM arrives or the minutes are over. Writes a checkpoint at the end."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    begun = kept = time.monotonic()
    while not run.finished and not stopped and (minutes is None or time.monotonic() - begun < 60 * minutes):
        run.step()
        if run.position.taken % LOGGED == 0:
            run.write_log()
        if time.monotonic() - kept > CHECKPOINT_SECONDS or run.finished:
            run.write_checkpoint()
            kept = time.monotonic()
        if run.position.taken and run.position.taken % EVALUATED == 0:
            evaluate(run)
    run.write_checkpoint()
    if run.finished:
        evaluate(run)


def evaluate(run: TrainingRun) -> None:
    """Write the present model to the folder, and its evaluation to the log."""
    run.write_model(run.folder / "guide")
    run.write_log(evaluation=glance(Guide(run.folder / "guide"), run.record))


def install(folder: Path) -> None:
    """Copy the finished model and the record of its training to where the repository has them."""
    for file in (folder / "guide").iterdir():
        shutil.copyfile(file, TRAINED if file.name == TRAINED.name else GUIDE / file.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="checkpoints, log and result")
    parser.add_argument("--minutes", type=float, help="stop after this time; a later call continues")
    parser.add_argument("--install", action="store_true", help="copy the result into the repository, and train nothing")
    chosen = parser.parse_args()
    if chosen.install:
        install(chosen.folder)
        return
    mx.set_default_device(mx.cpu)
    mx.set_cache_limit(2 << 30)
    record = TrainingRecord.of(list(all_topics()), other_questions())
    run = TrainingRun(chosen.folder, GUIDE_PLAN, record)
    try:
        train(run, chosen.minutes)
    finally:
        run.close()


if __name__ == "__main__":
    main()
