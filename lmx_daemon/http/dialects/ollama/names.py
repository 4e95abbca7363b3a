"""Names of models: Ollama adds a tag to each, lmx has none."""


def model_name(given: str) -> str:
    """Return the name without the tag `latest`, which clients add to a name that has none."""
    return given.removesuffix(":latest")
