"""Text forms of a pull: its name, its state, the parts of its progress line, and all its fields for scripts."""

from typing import TYPE_CHECKING

from lmx_daemon.contract.units import duration, size

if TYPE_CHECKING:
    from lmx_daemon.contract.admin.library.pulls import Download


def name_of(job: "Download") -> str:
    """Return the argument with which `lmx pull` finds the same pull again."""
    patterns = [f" --include '{p}'" for p in job.include] + [f" --exclude '{p}'" for p in job.exclude]
    return job.repo + (f"@{job.requested}" if job.requested else "") + "".join(patterns)


def state_of(job: "Download") -> str:
    """Return the state, with the position in the queue or the share that is verified."""
    if job.state == "queued" and job.position is not None:
        return f"queued ({job.position + 1})"
    if job.state == "verifying" and job.to_check:
        return f"verifying {job.checked / job.to_check:.0%}"
    return job.state


def progress(job: "Download") -> tuple[str, float | None, list[str]]:
    """Return the name, the fraction that is done, and details: "1.1 GB of 2.5 GB", "84.0 MB/s", "ETA 17s"."""
    if job.state == "verifying" and job.to_check:
        return job.repo, job.checked / job.to_check, ["verifying", f"{size(job.checked)} of {size(job.to_check)}"]
    parts: list[str] = [] if job.state == "downloading" else [job.state]
    if job.position:
        parts += [f"{job.position} before it"]
    if job.total is not None:
        parts += [f"{size(job.done)} of {size(job.total)}", f"{size(int(job.rate))}/s", f"ETA {duration(job.eta)}"]
        parts += [f"{job.files_done}/{job.files_total} files"]
    return job.repo, job.done / job.total if job.total else None, parts + ([job.note] if job.note else [])


def whole(job: "Download") -> "dict[str, object]":
    """Return all fields, including those with default values, so that a script does not need the defaults."""
    import msgspec

    fields: dict[str, object] = msgspec.structs.asdict(job)
    return fields
