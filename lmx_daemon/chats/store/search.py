"""Search over the titles and texts of all chats."""

import re
import sqlite3
from typing import Any

import msgspec

from lmx_daemon.chats.store.tables import ROW, one_line_of, row_of
from lmx_daemon.contract.admin.chats import ChatRow
from lmx_daemon.contract.text import valid_text

MAX_HITS = 1000
"""Largest number of texts that a search reads. The best of them determine the chats."""
MAX_WORDS = 16
SNIPPET_WORDS = 14
WORD = re.compile(r"\w+")
UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Characters of scripts that write words without spaces. The index stores such a text as one word."""


def search_in(database: sqlite3.Connection, text: str, limit: int) -> list[ChatRow]:
    """Return the chats with a title or a message that has all words, titles first, then the best match."""
    words = WORD.findall(valid_text(text))[:MAX_WORDS]
    if not words:
        return []
    hits = _contained(database, words) if any(map(UNSPACED.search, words)) else _matched(database, words)
    hits.sort(key=lambda hit: hit[1] != "")
    best: dict[int, tuple[str, str]] = {}
    for chat, message, snippet in hits:
        best.setdefault(chat, (message, snippet))
        if len(best) >= limit:
            break
    found = []
    for number, (message, snippet) in best.items():
        row = row_of(database.execute(f"SELECT {ROW} FROM chats WHERE number = ?", (number,)).fetchone())
        found.append(msgspec.structs.replace(row, snippet=one_line_of(snippet, 200), found=message))
    return found


def _matched(database: sqlite3.Connection, words: list[str]) -> list[Any]:
    """Return (chat, message, snippet) of the texts that have words with these beginnings."""
    query = " ".join(f'"{word}"*' for word in words)
    return database.execute(
        f"SELECT chat, message, snippet(found, 0, '', '', '…', {SNIPPET_WORDS}) FROM found "
        "WHERE found MATCH ? AND chat IN (SELECT number FROM chats WHERE deleted IS NULL) ORDER BY rank LIMIT ?",
        (query, MAX_HITS),
    ).fetchall()


def _contained(database: sqlite3.Connection, words: list[str]) -> list[Any]:
    """Return (chat, message, snippet) of the texts that contain the words anywhere."""
    where = " AND ".join("instr(lower(text), lower(?)) > 0" for _ in words)
    return database.execute(
        f"SELECT chat, message, substr(text, max(1, instr(text, ?) - 20), 80) FROM found WHERE {where} "
        "AND chat IN (SELECT number FROM chats WHERE deleted IS NULL) ORDER BY rowid DESC LIMIT ?",
        (words[0], *words, MAX_HITS),
    ).fetchall()
