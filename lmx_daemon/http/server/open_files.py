"""The limit on open files of the daemon's process, and the part of it that connections may use."""

import resource

OPEN_FILES = 10_240
"""Limit of open files that macOS allows without configuration."""
RESERVED = 512
"""Number of descriptors that are reserved for workers, downloads and files."""


def raise_limit() -> None:
    """Raise the limit of open files. The default of macOS, 256, is too low for many clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_within(most: int, files: int | None = None) -> int:
    """Return the bound on connections: `most`, or fewer if the process may have only `files` open files.

    By default, `files` is the limit of this process.
    """
    if files is None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = OPEN_FILES if soft == resource.RLIM_INFINITY else soft
    return min(most, max(files - RESERVED, files // 2))
