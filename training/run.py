"""A training run in a folder: it begins or continues, writes checkpoints and a log, and ends with a model's files."""

import hashlib
import json
import random
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mlx_lm.models.qwen3 import Model
from tokenizers import Tokenizer

from training import model as shape
from training import tokenizer as words
from training.batches import Batches
from training.checkpoint import Position, TrainingCheckpoint
from training.circuits.channels import MEANING
from training.circuits.copying import Circuit
from training.circuits.meaning import meanings
from training.corpus import Corpus
from training.files import save_model
from training.plan import Stage, TrainingPlan
from training.record import TrainingRecord
from training.sample import Renderer
from training.second_core import SecondCore
from training.tools import ToolMaker
from training.trainer import Trainer
from training.words import banks, with_pieces

LOGGED = 50
"""Steps from one line of the log to the next."""
TOKENIZER = "tokenizer.json"


class TopicsChangedError(ValueError):
    """A checkpoint of other topics or another plan. Samples would differ from those of the run that began it."""


class TrainingRun:
    """A training run. `step` may be called again after a kill: it continues from the last checkpoint."""

    def __init__(self, folder: Path, plan: TrainingPlan, record: TrainingRecord, two_cores: bool = True) -> None:
        self.folder = folder
        self.plan = plan
        self.record = record
        self.two_cores = two_cores
        folder.mkdir(parents=True, exist_ok=True)
        self.origin = hashlib.sha256(f"{plan}{record}".encode()).hexdigest()
        saved = TrainingCheckpoint.read(folder)
        if saved and saved.origin != self.origin:
            raise TopicsChangedError(f"{folder} was begun with other topics or another plan; continue from its commit")
        self.tokenizer = self.make_tokenizer()
        bank = with_pieces(*banks(), self.tokenizer.get_vocab())
        self.corpus = Corpus.load(plan.seed, ToolMaker(random.Random(), bank))
        self.batches = Batches(self.corpus, Renderer(self.tokenizer), plan)
        self.second: SecondCore | None = None
        self.recent, self.seconds = 0.0, 0.0
        self.position = saved.position if saved else Position()
        self.model, self.circuit = self.make_model(saved is None)
        self.trainer = self.make_trainer(saved)

    def make_tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the run, and keep it in the folder."""
        file = self.folder / TOKENIZER
        if not file.exists():
            rng = random.Random(self.plan.seed)
            corpus = Corpus.load(self.plan.seed, ToolMaker(rng, banks()[0]))
            plain = Renderer(Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {}, "merges": []}}'))
            samples = [corpus.tool_use() for _ in range(1500)]
            made = words.train(corpus.prose(), [plain.prompt(sample) + sample.output for sample in samples])
            made.save(str(file))
        return Tokenizer.from_file(str(file))

    def make_model(self, initial: bool) -> tuple[Model, Circuit]:
        """Return the model and its copying circuit, with initial weights if `initial`."""
        sink = self.tokenizer.encode(words.START, add_special_tokens=False).ids[0]
        if not initial:
            return shape.empty(self.tokenizer.get_vocab_size(), sink, self.plan.seed)
        self.batches.reseed("meanings")
        size = MEANING.stop - MEANING.start
        return shape.create(meanings(self.tokenizer, self.corpus, size), sink, self.plan.seed)

    def make_trainer(self, saved: TrainingCheckpoint | None = None) -> Trainer:
        """Return the trainer of the present stage, at the place of the checkpoint."""
        stage = self.stage
        self.model.unfreeze()
        if stage.initialised_is_frozen:
            shape.freeze_initialised(self.model)
        if self.second:
            self.second.close()
        self.second = SecondCore(self.model, stage.initialised_is_frozen) if self.two_cores else None
        trainer = Trainer(self.model, stage, self.second)
        if saved:
            trainer.restore(saved.position.taken, dict(saved.trees))
            self.recent, self.seconds = saved.recent, saved.seconds
        return trainer

    @property
    def stage(self) -> Stage:
        return self.plan.stages[min(self.position.stage, len(self.plan.stages) - 1)]

    @property
    def finished(self) -> bool:
        return self.position.stage == len(self.plan.stages)

    def step(self) -> float:
        """Take the next step and return its loss."""
        started = time.monotonic()
        batches = self.batches.groups(self.position.pool, self.stage.tool_share(self.position.begun))
        loss = self.trainer.step(batches[self.position.batch])
        self.recent = loss if self.recent == 0.0 else 0.98 * self.recent + 0.02 * loss
        here = replace(self.position, taken=self.position.taken + 1, batch=self.position.batch + 1)
        if here.batch == len(batches):
            here = replace(here, pool=here.pool + 1, batch=0, begun=here.taken)
        self.position = here
        if here.taken == self.stage.steps:
            self.end_stage()
        self.seconds += time.monotonic() - started
        return loss

    def end_stage(self) -> None:
        """Average the weights, and begin the next stage."""
        self.trainer.finish()
        if self.position.stage == 0:
            self.circuit.enable()
        self.position = Position(stage=self.position.stage + 1, pool=self.position.pool + 1)
        if not self.finished:
            self.trainer = self.make_trainer()

    def write_checkpoint(self) -> None:
        """Keep the state of the run in its folder."""
        state = self.trainer.state()
        TrainingCheckpoint(self.position, self.recent, self.seconds, self.origin, state).write(self.folder)

    def write_model(self, folder: Path) -> None:
        """Write the files of a model with the present weights, or their average."""
        weights = self.trainer.average if self.trainer.average is not None else self.model.parameters()
        save_model(weights, self.tokenizer, folder)
        self.record.write(folder / "trained.json")

    def write_log(self, **more: Any) -> None:
        """Append a line to the log."""
        line = {**asdict(self.position), "loss": round(self.recent, 4), "seconds": round(self.seconds), **more}
        print(json.dumps(line), flush=True)
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """End the second process."""
        if self.second:
            self.second.close()
