"""Training of lmx/guide with fixed seeds and step counts, on two CPU cores: `python -m training.train`."""

import argparse
import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_map_with_path
from mlx_lm.models.qwen3 import Model
from tokenizers import Tokenizer

from training import model as shape
from training import tokenizer as words
from training.batches import Batches, PaddedBatch
from training.circuits.channels import MEANING
from training.circuits.meaning import meanings
from training.corpus import Corpus
from training.sample import Renderer
from training.second_core import Gradient, SecondCore
from training.tools import ToolMaker
from training.words import banks, with_pieces

GUIDE = Path(__file__).parent.parent / "lmx_daemon" / "library" / "guide"
SEED = 20
ALONE = 900
"""Steps with questions only, in which the initialised layers are frozen."""
TOGETHER = (2700, 800)
"""Steps with questions and tools, in two stretches under one learning-rate schedule. All weights are trainable."""
WARM_UP = 80
RATE_ALONE = 2.5e-3
RATE_TOGETHER = 8e-4
LAST_RATE = 0.06
"""Final learning rate as a share of the peak rate."""
WORDS = 0.03
"""Learning rate of the embeddings as a share of the rate, so that rare words keep their initial meaning."""
TOOLS = (0.38, 0.15)
"""Share of samples with tools in each stretch of TOGETHER."""
BUDGET = 1300
"""Padded tokens in one micro-batch. A step has two micro-batches."""
AVERAGED = 0.985
"""Decay of the moving average of the weights."""


def make_tokenizer(seed: int) -> Tokenizer:
    rng = random.Random(seed)
    corpus = Corpus.load(seed, ToolMaker(rng, banks()[0]))
    plain = Renderer(Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {}, "merges": []}}'))
    samples = [corpus.tool_use() for _ in range(1500)]
    return words.train(corpus.prose(), [plain.prompt(sample) + sample.output for sample in samples])


class Trainer:
    """Training with one learning-rate schedule: warm-up, then cosine decay."""

    def __init__(self, model: Model, steps: int, rate: float, initialised_is_frozen: bool = False) -> None:
        self.model = model
        self.steps = steps
        self.optimizer = optim.MultiOptimizer(
            [self.adam(WORDS * rate, weight_decay=0.0), self.adam(rate, weight_decay=0.05)],
            [lambda path, _: "embed_tokens" in path],
        )
        self.gradient = Gradient(model)
        self.second = SecondCore(model, initialised_is_frozen)
        self.average: Any = None
        self.taken = 0
        self.recent = 0.0
        self.started = time.monotonic()

    def adam(self, rate: float, weight_decay: float) -> optim.Optimizer:
        rise = optim.linear_schedule(0.0, rate, WARM_UP)
        fall = optim.cosine_decay(rate, self.steps - WARM_UP, LAST_RATE * rate)
        schedule = optim.join_schedules([rise, fall], [WARM_UP])
        return optim.AdamW(schedule, betas=[0.9, 0.98], weight_decay=weight_decay)

    def run(self, batches: Batches, steps: int, tool_share: float) -> None:
        end = self.taken + steps
        while True:
            for group in batches.groups(tool_share, BUDGET):
                value = self.step(group)
                self.recent = value if self.recent == 0.0 else 0.98 * self.recent + 0.02 * value
                if self.taken % 50 == 0:
                    print(
                        f"step {self.taken} loss {self.recent:.3f} {time.monotonic() - self.started:.0f} s", flush=True
                    )
                if self.taken == end:
                    return

    def finish(self) -> None:
        self.model.update(self.average)
        self.second.close()

    def step(self, batches: list[PaddedBatch]) -> float:
        if len(batches) == 2:
            self.second.submit(batches[1])
        total, gradients = self.gradient(batches[0])
        if len(batches) == 2:
            value, others = self.second.result()
            total = (total + value) / 2
            gradients = tree_map_with_path(lambda path, mine: (mine + others[path]) / 2, gradients)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        self.optimizer.update(self.model, gradients)
        mx.eval(self.model.parameters(), self.optimizer.state)
        self.taken += 1
        self.update_average()
        return total

    def update_average(self) -> None:
        """Update the moving average of the weights, which starts at 80 % of the steps."""
        if self.taken < 0.8 * self.steps or self.taken % 2:
            return
        weights = self.model.parameters()
        if self.average is None:
            self.average = tree_map(lambda w: w + 0.0, weights)
        else:
            self.average = tree_map(lambda a, w: AVERAGED * a + (1 - AVERAGED) * w, self.average, weights)
        mx.eval(self.average)


def train(seed: int, tokenizer: Tokenizer) -> Model:
    rng = random.Random(seed + 1)
    bank = with_pieces(*banks(), tokenizer.get_vocab())
    corpus = Corpus.load(seed + 2, ToolMaker(rng, bank))
    batches = Batches(corpus, Renderer(tokenizer), rng)
    sink = tokenizer.encode(words.START, add_special_tokens=False).ids[0]
    model, circuit = shape.create(meanings(tokenizer, corpus, MEANING.stop - MEANING.start), sink, seed)
    print(f"{sum(p.size for _, p in tree_flatten(model.parameters()))} parameters, {len(corpus.lessons)} topics")
    shape.freeze_initialised(model)
    alone = Trainer(model, ALONE, RATE_ALONE, initialised_is_frozen=True)
    alone.run(batches, ALONE, tool_share=0.0)
    alone.finish()
    model.unfreeze()
    circuit.enable()
    together = Trainer(model, sum(TOGETHER), RATE_TOGETHER)
    for steps, tool_share in zip(TOGETHER, TOOLS, strict=True):
        together.run(batches, steps, tool_share)
    together.finish()
    return model


def save(model: Model, tokenizer: Tokenizer, folder: Path) -> None:
    words.save(tokenizer, folder)
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    end = tokenizer.token_to_id(words.END)
    config = {**shape.SHAPE, "vocab_size": tokenizer.get_vocab_size(), "eos_token_id": end}
    generation = {"do_sample": False, "temperature": 0.0, "eos_token_id": [end, 0], "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    shutil.copyfile(Path(__file__).parent / "guide.md", folder / "README.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--to", type=Path, default=GUIDE)
    chosen = parser.parse_args()
    mx.set_default_device(mx.cpu)
    mx.set_cache_limit(2 << 30)
    tokenizer = make_tokenizer(chosen.seed)
    save(train(chosen.seed, tokenizer), tokenizer, chosen.to)


if __name__ == "__main__":
    main()
