"""Which files of a repository a model needs, and whether it is a model that lmx can run. Pure: names and contents in.

A repository that is none is refused before its weights are fetched, with what to do instead.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from lmx_daemon.contract.errors import RequestError, UntrustedModelError
from lmx_daemon.library.hub.names import check_apart
from lmx_daemon.library.verify.code_files import PICKLE_SUFFIXES, code_keys
from lmx_daemon.library.verify.manifest import ManifestFile

SUFFIXES = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".jsonl")
NAMES = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.md", "1_Pooling/config.json")
FOLDERS = ("additional_chat_templates/",)
ELSEWHERE = "look for an MLX version: search the Hub for the name with MLX, or see huggingface.co/mlx-community"
ALL_THE_SAME = "to fetch its files all the same: lmx pull --include '*'"


def chosen(
    repo: str, files: Sequence[ManifestFile], include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[tuple[ManifestFile, ...], tuple[str, ...]]:
    """(the files to fetch, the names of the others). `include` replaces what a model needs by default, and nothing is
    refused then; `exclude` takes away. Raises UntrustedModelError or RequestError."""
    if not include:
        refuse_what_is_no_model(repo, [file.path for file in files])
    weights = _weights(file.path for file in files)
    wanted, skipped = [], []
    for file in files:
        needed = matches(file.path, include) if include else file.path in weights or is_needed(file.path)
        if needed and not matches(file.path, exclude):
            wanted.append(file)
        else:
            skipped.append(file.path)
    if not wanted:
        raise RequestError(f"none of the {len(skipped)} files of {repo} matches", param="include")
    check_apart(wanted)
    return tuple(wanted), tuple(skipped)


def is_needed(path: str) -> bool:
    """Beside the weights: configs, tokenizer, templates, README. mlx-lm reads no other folders."""
    if "/" in path:
        return path in NAMES or path.startswith(FOLDERS)
    return path.endswith(SUFFIXES) or path in NAMES


def _weights(paths: Iterable[str]) -> frozenset[str]:
    """model*.safetensors where there are any: other files then hold the same weights in another form."""
    top = [path for path in paths if "/" not in path and path.endswith(".safetensors")]
    return frozenset([path for path in top if path.startswith("model")] or top)


def matches(path: str, patterns: Sequence[str]) -> bool:
    """As the Hub's own tools match: `*` crosses folders, `folder/` is all that is in it."""
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)


def refuse_what_is_no_model(repo: str, paths: Sequence[str]) -> None:
    """By names alone. Raises UntrustedModelError."""
    if not _weights(paths):
        if any(path.endswith(".gguf") for path in paths):
            raise UntrustedModelError(f"{repo} has GGUF files only, and lmx runs MLX's safetensors", hint=ELSEWHERE)
        if any(path.endswith(".safetensors") for path in paths):
            raise UntrustedModelError(
                f"{repo} has weights in folders only: it is no language model that MLX runs", hint=ELSEWHERE
            )
        if any(path.endswith(PICKLE_SUFFIXES) for path in paths):
            raise UntrustedModelError(
                f"{repo} has PyTorch pickles only, which can run code when they are opened; lmx never opens them",
                hint=ELSEWHERE,
            )
        raise UntrustedModelError(f"{repo} has no safetensors weights", hint=f"{ELSEWHERE}; {ALL_THE_SAME}")
    if "config.json" not in paths:
        raise UntrustedModelError(
            f"{repo} has no config.json: it is no whole model (an adapter?)", hint=f"{ELSEWHERE}; {ALL_THE_SAME}"
        )


def refuse_code(repo: str, configs: Mapping[str, bytes]) -> None:
    """By the configs, which are fetched first. Raises UntrustedModelError."""
    for name, content in configs.items():
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise UntrustedModelError(f"{name} of {repo} is not JSON", hint=f"{ELSEWHERE}; {ALL_THE_SAME}") from None
        found = code_keys(value) if isinstance(value, dict) else []
        if found:
            raise UntrustedModelError(
                f"{repo} would run code of its own ({found[0]} in {name}), and lmx runs none",
                hint=f"{ELSEWHERE}; {ALL_THE_SAME}, then read its code and allow it with lmx trust",
            )
