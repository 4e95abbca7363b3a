"""Training runs: a run that continues from a checkpoint repeats the losses of a run that was never interrupted."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from training.checkpoint import NAME, TrainingCheckpoint
from training.evaluate import other_questions
from training.facts.topics import all_topics
from training.plan import GUIDE_PLAN, Stage, TrainingPlan
from training.record import TrainingRecord
from training.run import TopicsChangedError, TrainingRun

PLAN = TrainingPlan(
    seed=3,
    stages=(
        Stage("alone", 2, 1e-3, (0.0,), initialised_is_frozen=True, warm_up=1),
        Stage("together", 4, 1e-3, (0.2, 0.8), warm_up=1),
    ),
    budget=60,
    pool=3,
)
KEPT = (1, 3, 5)
"""Steps of the whole run after which a checkpoint is kept."""


@dataclass(frozen=True)
class WholeRun:
    """A run that was never interrupted, its losses, and a folder with the checkpoint after each number of steps."""

    run: TrainingRun
    losses: list[float]
    folders: dict[int, Path]


@pytest.fixture(scope="module")
def record() -> TrainingRecord:
    mx.set_default_device(mx.cpu)
    return TrainingRecord.of(list(all_topics()), other_questions())


@pytest.fixture(scope="module")
def whole(record: TrainingRecord, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    run = TrainingRun(tmp_path_factory.mktemp("whole"), PLAN, record, two_cores=False)
    losses: list[float] = []
    folders: dict[int, Path] = {}
    while not run.finished:
        losses.append(run.step())
        if len(losses) in KEPT:
            run.write_checkpoint()
            folders[len(losses)] = tmp_path_factory.mktemp("kept")
            shutil.copytree(run.folder, folders[len(losses)], dirs_exist_ok=True)
    return WholeRun(run, losses, folders)


@pytest.mark.parametrize("kept", KEPT)
def test_resumed_run_has_the_same_losses_and_weights(whole: WholeRun, record: TrainingRecord, kept: int) -> None:
    resumed = TrainingRun(whole.folders[kept], PLAN, record, two_cores=False)
    assert [resumed.step() for _ in whole.losses[kept:]] == whole.losses[kept:]
    assert resumed.finished
    mine, theirs = (tree_flatten(run.model.parameters()) for run in (resumed, whole.run))
    assert all(mx.array_equal(a, b) for (_, a), (_, b) in zip(mine, theirs, strict=True))


def test_second_process_does_not_change_the_losses(whole: WholeRun, record: TrainingRecord) -> None:
    run = TrainingRun(whole.folders[3], PLAN, record)
    try:
        assert [run.step() for _ in whole.losses[3:]] == pytest.approx(whole.losses[3:], rel=1e-5)
    finally:
        run.close()


def test_checkpoint_of_other_topics_or_of_another_plan_is_refused(whole: WholeRun, record: TrainingRecord) -> None:
    changed = replace(record, topics=[replace(record.topics[0], answer="another"), *record.topics[1:]])
    with pytest.raises(TopicsChangedError):
        TrainingRun(whole.folders[1], PLAN, changed, two_cores=False)
    with pytest.raises(TopicsChangedError):
        TrainingRun(whole.folders[1], replace(PLAN, seed=4), record, two_cores=False)


def test_unfinished_checkpoint_leaves_the_earlier_one(whole: WholeRun) -> None:
    before = TrainingCheckpoint.read(whole.folders[1])
    (whole.folders[1] / f"new-{NAME}").write_bytes(b"half a file")
    found = TrainingCheckpoint.read(whole.folders[1])
    assert found and before and found.position == before.position


def test_written_model_has_its_record_and_is_small(whole: WholeRun, record: TrainingRecord, tmp_path: Path) -> None:
    whole.run.write_model(tmp_path)
    assert TrainingRecord.read(tmp_path / "trained.json") == record
    weights = mx.load(str(tmp_path / "model.safetensors"))
    assert sum(each.nbytes for each in weights.values()) <= 24_000_000
    assert sum(each.size for each in weights.values()) <= 8_000_000


def test_share_of_tools_follows_the_stretches() -> None:
    stage = Stage("a", 10, 1.0, (0.5, 0.25))
    assert [stage.tool_share(taken) for taken in (0, 4, 5, 9, 10)] == [0.5, 0.5, 0.25, 0.25, 0.25]
    assert all(stage.steps > stage.warm_up for stage in GUIDE_PLAN.stages)
