"""Names from outside: parsing, refusal, and the selection of files."""

import pytest

from lmx_daemon.contract.errors import RequestError, UntrustedModelError
from lmx_daemon.library.hub.names import parse_reference, refuse_collisions
from lmx_daemon.library.pull.selection import select_files
from lmx_daemon.library.verify.manifest import ManifestFile

MODEL = "mlx-community/Qwen3-0.6B-4bit"


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        (MODEL, MODEL, None),
        (f" {MODEL}\n", MODEL, None),
        (f"{MODEL}@main", MODEL, None),
        (f"{MODEL}@", MODEL, None),
        (f"{MODEL}@v1.0", MODEL, "v1.0"),
        (f"{MODEL}@refs/pr/3", MODEL, "refs/pr/3"),
        (f"https://huggingface.co/{MODEL}", MODEL, None),
        (f"https://huggingface.co/{MODEL}/", MODEL, None),
        (f"https://huggingface.co/{MODEL}?library=mlx#x", MODEL, None),
        (f"https://huggingface.co/{MODEL}/tree/main", MODEL, None),
        (f"https://huggingface.co/{MODEL}/tree/v2/sub/folder", MODEL, "v2"),
        (f"https://huggingface.co/{MODEL}/blob/{'a' * 40}/config.json", MODEL, "a" * 40),
        (f"https://huggingface.co/{MODEL}.git", MODEL, None),
        (f"https://hf.co/{MODEL}", MODEL, None),
        (f"HTTPS://HuggingFace.co/{MODEL}", MODEL, None),
        (f"huggingface.co/{MODEL}", MODEL, None),
        (f"http://127.0.0.1:8000/{MODEL}/tree/main", MODEL, None),
    ],
)
def test_reference_is_parsed(text: str, repo: str, revision: str | None) -> None:
    assert parse_reference(text, "http://127.0.0.1:8000") == (repo, revision)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a/b/c",
        "../x",
        "a/..",
        "a/b\nc",
        "a b/c",
        "-/x",
        "a/b--c",
        "a/b.git",
        "ä/b",
        f"{MODEL}@../x",
        f"{MODEL}@a//b",
        f"{MODEL}@-x",
        f"{MODEL}@x.lock",
        f"{MODEL}@a b",
        f"http://evil.example/{MODEL}",
        f"https://huggingface.co.evil.example/{MODEL}",
        f"https://huggingface.co@evil.example/{MODEL}",
        f"ftp://huggingface.co/{MODEL}",
        "https://huggingface.co/datasets/a/b",
        "https://huggingface.co/spaces/a/b",
        "https://huggingface.co/onlyowner",
        "https://huggingface.co/a/b/tree/..%2f..%2fx",
        "https://huggingface.co/..%2f..%2fx/b",
    ],
)
def test_invalid_reference_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        parse_reference(text)


def files(*paths: str) -> list[ManifestFile]:
    return [ManifestFile(path=path, size=1, git_sha1="a" * 40) for path in paths]


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "A"), ("a", "a/b"), ("a/b", "a"), ("\u00e4.json", "a\u0308.json")])
def test_colliding_paths_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(UntrustedModelError):
        refuse_collisions(files(*paths))
    refuse_collisions(files("a/b", "a/c", "b"))


def names(include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    whole = files(
        "README.md", "config.json", "model.safetensors", "model-2.safetensors", "consolidated.safetensors",
        "tokenizer.model", "chat_template.jinja", "additional_chat_templates/rag.jinja", "onnx/model.onnx",
        "1_Pooling/config.json", "pytorch_model.bin", "model.gguf", "modeling.py", "x.png", "sub/model.safetensors",
    )  # fmt: skip
    return [file.path for file in select_files("a/b", whole, include, exclude)[0]]


def test_default_selection() -> None:
    assert names() == [
        "README.md", "config.json", "model.safetensors", "model-2.safetensors", "tokenizer.model",
        "chat_template.jinja", "additional_chat_templates/rag.jinja", "1_Pooling/config.json",
    ]  # fmt: skip


def test_include_and_exclude_patterns() -> None:
    assert names(include=("*.gguf", "onnx/")) == ["onnx/model.onnx", "model.gguf"]
    assert "README.md" not in names(exclude=("*.md", "1_*")) and "1_Pooling/config.json" not in names(exclude=("1_*",))
    assert len(names(include=("*",))) == 15
    with pytest.raises(RequestError):
        names(include=("*.json",), exclude=("*",))
