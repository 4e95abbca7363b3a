"""The fixed texts of the demonstration, in pieces that stand for tokens."""

import re

THOUGHTS = "The question is general, so a short overview with one example is enough.\n"
ANSWERS = (
    """This is a **demonstration**: the text is fixed, and no model computes it. Everything else on the screens is
scripted too, so that you can look around.

What you can try:

- `F2` Models: load, unload, search the Hub, start a download
- `F4` Monitor: memory, speed and the requests of other clients
- `F5` Logs: the log, and the timeline of each request

A real daemon answers the same routes as OpenAI's API:

```python
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:1234/v1", api_key="none")
answer = client.chat.completions.create(
    model="mlx-community/Qwen3-8B-4bit",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)
```

`lmx tui` without `--demo` opens the real one.
""",
    """A prefix cache keeps the **keys and values** of earlier prompts. A prompt that begins with the same tokens
skips their prefill:

| prompt | cached | time to first token |
|---|---|---|
| first question | 0 % | 1.7 s |
| second question | 94 % | 0.1 s |

The line below each answer shows how much was cached, and the reason if it was not.
""",
    """Several requests to one model run in **one batch**: each step computes a token for every one of them. Memory
bandwidth limits a step, so four streams together are much faster than one after the other.

1. A request waits in the queue until it has a slot.
2. Its prompt is computed in pieces between the steps of the others.
3. Its tokens arrive as they are generated.
""",
)


def answer_to(number: int) -> str:
    """Return the text of the answer with this number; the texts repeat."""
    return ANSWERS[number % len(ANSWERS)]


def pieces(text: str) -> list[str]:
    """Return a text in pieces of about a word, whose concatenation is the text."""
    return re.findall(r"\s*\S+|\s+$", text)
