"""Selection of the files of a repository that a model needs. Pure functions over names and contents.

A repository that lmx cannot run is refused before its weights are fetched, with a hint.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from lmx_daemon.contract.errors import RequestError, UntrustedModelError
from lmx_daemon.library.hub.names import refuse_collisions
from lmx_daemon.library.verify.code_files import PICKLE_SUFFIXES, code_keys
from lmx_daemon.library.verify.manifest import ManifestFile

SUFFIXES = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".jsonl")
NAMES = ("README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.md", "1_Pooling/config.json")
FOLDERS = ("additional_chat_templates/",)
FIND_ANOTHER = "look for an MLX version: search the Hub for the name with MLX, or see huggingface.co/mlx-community"
FETCH_ANYWAY = "to fetch its files anyway: lmx pull --include '*'"


def select_files(
    repo: str, files: Sequence[ManifestFile], include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[tuple[ManifestFile, ...], tuple[str, ...]]:
    """Return the files to fetch, and the paths of the others.

    The patterns of `include` replace the default selection, and then no repository is refused. `exclude` removes files
    from the selection. Raises UntrustedModelError or RequestError.
    """
    if not include:
        refuse_unsupported(repo, [file.path for file in files])
    weights = _weights(file.path for file in files)
    wanted, skipped = [], []
    for file in files:
        needed = matches_any(file.path, include) if include else file.path in weights or is_needed(file.path)
        if needed and not matches_any(file.path, exclude):
            wanted.append(file)
        else:
            skipped.append(file.path)
    if not wanted:
        raise RequestError(f"none of the {len(skipped)} files of {repo} matches", param="include")
    refuse_collisions(wanted)
    return tuple(wanted), tuple(skipped)


def is_needed(path: str) -> bool:
    """Return whether a model needs a file besides its weights. mlx-lm reads no other folders."""
    if "/" in path:
        return path in NAMES or path.startswith(FOLDERS)
    return path.endswith(SUFFIXES) or path in NAMES


def _weights(paths: Iterable[str]) -> frozenset[str]:
    """Return model*.safetensors if there are any, because others then hold the same weights in another form."""
    top = [path for path in paths if "/" not in path and path.endswith(".safetensors")]
    return frozenset([path for path in top if path.startswith("model")] or top)


def matches_any(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a path matches a pattern, as in huggingface_hub: `*` includes "/", `folder/` is all its files."""
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)


def refuse_unsupported(repo: str, paths: Sequence[str]) -> None:
    """Raise UntrustedModelError when the names of the files show that lmx cannot run the model."""
    if not _weights(paths):
        if any(path.endswith(".gguf") for path in paths):
            raise UntrustedModelError(f"{repo} has GGUF files only, and lmx runs MLX's safetensors", hint=FIND_ANOTHER)
        if any(path.endswith(".safetensors") for path in paths):
            raise UntrustedModelError(
                f"{repo} has weights in folders only: it is not a language model for MLX", hint=FIND_ANOTHER
            )
        if any(path.endswith(PICKLE_SUFFIXES) for path in paths):
            raise UntrustedModelError(
                f"{repo} has PyTorch pickles only, which can run code when they are opened; lmx never opens them",
                hint=FIND_ANOTHER,
            )
        raise UntrustedModelError(f"{repo} has no safetensors weights", hint=f"{FIND_ANOTHER}; {FETCH_ANYWAY}")
    if "config.json" not in paths:
        raise UntrustedModelError(
            f"{repo} has no config.json: it is incomplete, or an adapter", hint=f"{FIND_ANOTHER}; {FETCH_ANYWAY}"
        )


def refuse_code(repo: str, configs: Mapping[str, bytes]) -> None:
    """Raise UntrustedModelError when a config names code. The configs are fetched before the weights."""
    for name, content in configs.items():
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise UntrustedModelError(f"{name} of {repo} is not JSON", hint=f"{FIND_ANOTHER}; {FETCH_ANYWAY}") from None
        found = code_keys(value) if isinstance(value, dict) else []
        if found:
            raise UntrustedModelError(
                f"{repo} would run code of its own ({found[0]} in {name}), and lmx runs none",
                hint=f"{FIND_ANOTHER}; {FETCH_ANYWAY}, then read its code and allow it with lmx trust",
            )
