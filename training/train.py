"""Makes lmx/guide: `python -m training.train`. Seeded, a fixed number of steps, one CPU thread."""

import argparse
import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models.qwen3 import Model
from tokenizers import Tokenizer

from training import model as shape
from training import tokenizer as words
from training.batches import Batch, Batches
from training.corpus import Corpus
from training.sample import Renderer
from training.tools import ToolMaker
from training.words import banks

GUIDE = Path(__file__).parent.parent / "lmx_daemon" / "library" / "guide"
SEED = 20
STEPS = 2900
ECHOES = 150
"""First steps, of echoes only: mixed with anything else the drawn circuit is unlearnt before it is used."""
WARM_UP = 60
RATE = 3e-3
LAST_RATE = 5e-5
BUDGET = 1300
"""Padded tokens in one micro-batch; a step has two."""
DROPOUT = 0.0
AVERAGED = 0.985


def make_tokenizer(seed: int) -> Tokenizer:
    rng = random.Random(seed)
    corpus = Corpus.load(seed, ToolMaker(rng, banks()[0]))
    plain = Renderer(Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {}, "merges": []}}'))
    samples = [corpus.tool_use() for _ in range(1500)]
    return words.train(corpus.prose(), [plain.prompt(sample) + sample.output for sample in samples])


def tool_share(progress: float) -> float:
    """Tools first; the end is for the questions."""
    return 0.3 if progress < 0.3 else 0.2


def echo_share(progress: float) -> float:
    return max(0.0, 0.15 - 0.5 * progress)


class Trainer:
    def __init__(self, model: Model, steps: int) -> None:
        self.model = model
        self.steps = steps
        rise = optim.linear_schedule(0.0, RATE, WARM_UP)
        fall = optim.cosine_decay(RATE, steps - WARM_UP, LAST_RATE)
        rate = optim.join_schedules([rise, fall], [WARM_UP])
        self.optimizer = optim.AdamW(rate, betas=[0.9, 0.98], weight_decay=0.05)
        self.gradient = nn.value_and_grad(model, shape.loss)
        self.average: Any = None

    def step(self, batches: list[Batch], step: int) -> float:
        total, gradients = 0.0, None
        for batch in batches:
            arrays = [mx.array(a) for a in (batch.ids, batch.places, batch.targets, batch.weights)]
            value, each = self.gradient(self.model, *arrays, DROPOUT)
            mx.eval(value, each)
            total += value.item() / len(batches)
            gradients = each if gradients is None else tree_map(lambda a, b: a + b, gradients, each)
        gradients = tree_map(lambda g: g / len(batches), gradients)
        gradients, _ = optim.clip_grad_norm(gradients, 1.0)
        self.optimizer.update(self.model, gradients)
        mx.eval(self.model.parameters(), self.optimizer.state)
        self.remember(step)
        return total

    def remember(self, step: int) -> None:
        """Moving average of the weights over the last fifth."""
        if step < 0.8 * self.steps or step % 2:
            return
        weights = self.model.parameters()
        if self.average is None:
            self.average = tree_map(lambda w: w + 0.0, weights)
        else:
            self.average = tree_map(lambda a, w: AVERAGED * a + (1 - AVERAGED) * w, self.average, weights)
        mx.eval(self.average)


def train(steps: int, seed: int, tokenizer: Tokenizer) -> Model:
    rng = random.Random(seed + 1)
    corpus = Corpus.load(seed + 2, ToolMaker(rng, banks()[0]))
    batches = Batches(corpus, Renderer(tokenizer), rng)
    model = shape.create(tokenizer.get_vocab_size(), seed)
    trainer = Trainer(model, steps)
    print(f"{sum(p.size for _, p in tree_flatten(model.parameters()))} parameters, {len(corpus.lessons)} topics")
    step, seen, recent, started = 0, 0, 0.0, time.monotonic()
    for step in range(min(ECHOES, steps)):
        trainer.step([batches.echoes()], step)
    while step < steps:
        progress = step / steps
        for group in batches.groups(tool_share(progress), echo_share(progress), BUDGET):
            value = trainer.step(group, step)
            recent = value if recent == 0.0 else 0.98 * recent + 0.02 * value
            seen += sum(batch.ids.size for batch in group)
            step += 1
            if step % 50 == 0:
                spent = time.monotonic() - started
                print(f"step {step} loss {recent:.3f} {seen / spent:.0f} tokens/s {spent:.0f} s", flush=True)
            if step == steps:
                break
    if trainer.average is not None:
        model.update(trainer.average)
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
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--to", type=Path, default=GUIDE)
    chosen = parser.parse_args()
    mx.set_default_device(mx.cpu)
    mx.set_cache_limit(2 << 30)
    tokenizer = make_tokenizer(chosen.seed)
    save(train(chosen.steps, chosen.seed, tokenizer), tokenizer, chosen.to)


if __name__ == "__main__":
    main()
