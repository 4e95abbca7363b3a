"""The files of a model: weights, config, tokenizer, chat template and card."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from tokenizers import Tokenizer

from training import tokenizer as words
from training.model import SHAPE


def save_model(weights: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files of a model to a folder."""
    words.save(tokenizer, folder)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(weights)), metadata={"format": "mlx"})
    end = tokenizer.token_to_id(words.END)
    config = {**SHAPE, "vocab_size": tokenizer.get_vocab_size(), "eos_token_id": end}
    generation = {"do_sample": False, "temperature": 0.0, "eos_token_id": [end, 0], "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    shutil.copyfile(Path(__file__).parent / "guide.md", folder / "README.md")
