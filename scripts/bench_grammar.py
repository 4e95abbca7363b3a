"""Cost of constrained answers in process, for bench_dialects.py: a mask, and constrained rows beside free ones."""

import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import llguidance
import mlx.core as mx
import numpy as np
from mlx_lm.utils import load_model

from lmx_daemon.engines.mlx.batch.batch import Batch
from lmx_daemon.engines.mlx.batch.step import Row
from lmx_daemon.engines.mlx.grammar.check_program import check
from lmx_daemon.engines.mlx.grammar.token_grammar import CompiledGrammar, TokenGrammar
from lmx_daemon.engines.mlx.grammar.vocabulary import (
    FEW_CORES,
    GrammarVocabulary,
    TokenBytes,
    number_kinds,
    number_tokens,
)
from lmx_daemon.engines.mlx.sampling.parameters import GREEDY, SamplingParams
from lmx_daemon.engines.mlx.sampling.processors import TokenMask
from tests.models import build_model

VOCABULARY = 65_536
ROWS, STEPS = 32, 12
SCHEMA = (
    '{"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "minItems": 40, "items": '
    '{"type": "object", "required": ["name", "count"], "additionalProperties": false, "properties": '
    '{"name": {"type": "string", "maxLength": 40}, "count": {"type": "integer"}}}}}}'
)


def synthetic_vocabulary() -> GrammarVocabulary:
    """Return a vocabulary of all bytes, random words and punctuation.

    3 % of its tokens have a quotation mark, as in a vocabulary of the same size that was trained on Python's library.
    """
    generator = random.Random(1)
    tokens = [bytes([byte]) for byte in range(256)]
    while len(tokens) < VOCABULARY - 1:
        word = "".join(generator.choices("etaoinshrdlucmfwypvbgkqjxz", k=generator.randint(2, 9)))
        before = generator.choice(('"', ', "')) if generator.random() < 0.02 else generator.choice(("", " ", " "))
        tokens.append((before + word + ('":' if generator.random() < 0.01 else "")).encode())
    end = len(tokens)
    tokens.append(b"<end>")
    tokenizer = llguidance.LLTokenizer(TokenBytes(tokens, [end], end), eos_token=[end])  # type: ignore[arg-type]
    numbers = number_tokens([number_kinds(text) for text in tokens])
    executor = llguidance.LLExecutor() if (os.cpu_count() or 1) > FEW_CORES else None
    return GrammarVocabulary(tokenizer, executor, VOCABULARY // 32, frozenset([end]), tokens, numbers)


def compiled(vocabulary: GrammarVocabulary) -> CompiledGrammar:
    grammar = check({"kind": "json_schema", "source": SCHEMA})["grammar"]
    return CompiledGrammar(llguidance.LLMatcher(vocabulary.tokenizer, grammar), vocabulary, bounds_numbers=True)


def mask_seconds(grammar: CompiledGrammar, rows: int) -> tuple[float, float]:
    """Return the median processor seconds of a mask of a row and step: by the grammar, and in all."""
    constraints = [TokenGrammar(grammar) for _ in range(rows)]
    sampled = [Row(1000, GREEDY, constraint=constraint) for constraint in constraints]
    processor, logits = TokenMask(sampled, VOCABULARY), mx.random.normal((rows, VOCABULARY))
    mx.eval(logits)
    generator = random.Random(2)
    bits = np.zeros((rows, constraints[0].words), np.uint32)
    written, whole = [], []
    for _ in range(100):
        begun = time.process_time()
        TokenGrammar.write([(constraint, row) for row, constraint in enumerate(constraints)], bits)
        written.append(time.process_time() - begun)
        mx.eval(processor(logits, sampled))  # the grammar keeps its mask until it advances
        whole.append(time.process_time() - begun)
        allowed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
        for row, constraint in enumerate(constraints):
            constraint.advance(int(generator.choice(np.flatnonzero(allowed[row]).tolist())))
    return statistics.median(written) / rows, statistics.median(whole) / rows


def rate(model: Any, grammar: CompiledGrammar | None) -> float:
    """Return tokens per second of 32 rows while all decode."""
    batch = Batch(model, set(), prefill_step=512)
    for index in range(ROWS):
        constraint = TokenGrammar(grammar) if grammar is not None else None
        params = SamplingParams(temperature=1.0, seed=index)
        batch.add([index + 3] * 8, [Row(STEPS * 3, params, constraint=constraint)])
    while len(batch.step().tokens) < ROWS:
        pass
    count, begun = 0, time.perf_counter()
    for _ in range(STEPS):
        count += len(batch.step().tokens)
    return count / (time.perf_counter() - begun)


def rates(rounds: int) -> tuple[list[float], list[float]]:
    """Return tokens per second of free and of constrained rows in each round."""
    grammar = compiled(synthetic_vocabulary())
    size = {"hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1536, "head_dim": 64}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": VOCABULARY}
    with tempfile.TemporaryDirectory() as folder:
        model, _ = load_model(build_model("qwen3", Path(folder), ends=False, **(size | heads)))
    free, constrained = [], []
    for _ in range(rounds):  # paired
        free.append(rate(model, None))
        constrained.append(rate(model, grammar))
    return free, constrained
