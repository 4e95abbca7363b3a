"""The errors that lmx raises deliberately, each with a code, an HTTP status and, where it helps, a hint.

LmxError
├─ RequestError 400                invalid input; `param` names the field
│  ├─ UsageError                   a command line of `lmx` is wrong
│  ├─ ContextLengthError           prompt and answer exceed the context length of the model
│  ├─ UnsupportedError             valid, but this model or this version does not support it
│  └─ MediaTypeError 415           the body is not declared as JSON
├─ AuthenticationError 401
├─ ForbiddenError 403              the Origin header is not allowed, or the API key lacks a scope or a model
├─ MisdirectedError 421            the Host header is not in the list of allowed hosts
├─ NotFoundError 404
│  ├─ ModelNotFoundError
│  ├─ RequestNotFoundError
│  ├─ JobNotFoundError
│  └─ ChatNotFoundError
├─ ConflictError 409
├─ TooLargeError 413
├─ BusyError 429                   the queue is full; `retry_after` is in seconds
├─ RateLimitError 429              a limit of the API key is reached; `retry_after` is in seconds
├─ UntrustedModelError 403         the repository contains code or fails a check
├─ ModelLoadError 500
├─ WorkerError 500                 the worker process of the model ended or raised an error
│  ├─ WorkerHungError
│  ├─ CrashLoopError 503           too many crashes within a time window; `retry_after` is in seconds
│  └─ EngineMissingError           MLX is not installed or cannot be imported
├─ OutOfMemoryError 507
├─ DeadlineError 504
├─ CancelledError 499
├─ ShuttingDownError 503
├─ DownloadingError 503            the model is being downloaded; `retry_after` is in seconds
├─ HubError 502                    the Hub refused the request or is unreachable
│  └─ IntegrityError               a file differs from what the Hub published
├─ DiskError 507                   the disk is full or not writable
│  └─ NewerStateError              a state file was written by a newer version of lmx
├─ ConfigError 400                 a setting is invalid
├─ StartupError                    the daemon cannot start
├─ DaemonUnreachableError          no daemon listens on the socket
│  └─ DaemonSilentError            the daemon does not answer in time
└─ ProtocolMismatchError           client and daemon have different protocol versions
"""

from collections.abc import Iterator

import msgspec

from lmx_daemon.contract.text import one_line, printable_lines, shortened, valid_text, without_secrets

MAX_TEXT = 2000
"""Limit on the characters of an error's message, hint and param, which may contain text of a model or a client."""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as data, for sockets and pipes."""

    code: str
    message: str
    hint: str | None = None
    param: str | None = None
    retry_after: float | None = None


def _bounded(text: str) -> str:
    return shortened(valid_text(without_secrets(text)), MAX_TEXT)


class LmxError(Exception):
    """The base of all errors: `message` states the fault in one line, `hint` a remedy; URLs in them have no secrets."""

    code = "internal_error"
    status = 500

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = _bounded(one_line(_bounded(message)))
        self.hint = hint and _bounded(printable_lines(_bounded(hint)))
        self.param = param and _bounded(one_line(_bounded(param)))
        super().__init__(self.message)
        self.retry_after = retry_after

    def body(self) -> ErrorBody:
        """Return the error as data."""
        return ErrorBody(
            code=self.code,
            message=self.message,
            hint=self.hint,
            param=self.param,
            retry_after=self.retry_after,
        )


class RequestError(LmxError):
    code, status = "invalid_request", 400


class UsageError(RequestError):
    code = "usage"


class ContextLengthError(RequestError):
    code = "context_length_exceeded"


def prompt_too_long(
    tokens: int, maximum: int, param: str, *, because: str = "", hint: str | None = None
) -> ContextLengthError:
    """Return the error of a prompt of at least `tokens` where `maximum` is the context, the answer included.

    Agents recognise an overflow by phrases of the message: Claude Code by the first one, opencode, Cline and Codex by
    the others. The message contains all of them.
    """
    return ContextLengthError(
        f"prompt is too long: {tokens} tokens > {maximum} maximum; exceeds the context window: this model's maximum "
        f"context length is {maximum} tokens" + (f" ({because})" if because else ""),
        param=param,
        hint=hint or "shorten the conversation, or load a model with a longer context; the answer needs a part of it",
    )


class UnsupportedError(RequestError):
    code = "unsupported"


class MediaTypeError(RequestError):
    code, status = "unsupported_media_type", 415


class AuthenticationError(LmxError):
    code, status = "invalid_api_key", 401


class ForbiddenError(LmxError):
    code, status = "forbidden", 403


class MisdirectedError(LmxError):
    code, status = "host_not_allowed", 421


class NotFoundError(LmxError):
    code, status = "not_found", 404


class ModelNotFoundError(NotFoundError):
    code = "model_not_found"


class RequestNotFoundError(NotFoundError):
    code = "request_not_found"


class JobNotFoundError(NotFoundError):
    code = "job_not_found"


class ChatNotFoundError(NotFoundError):
    code = "chat_not_found"


class ConflictError(LmxError):
    code, status = "conflict", 409


class TooLargeError(LmxError):
    code, status = "too_large", 413


class BusyError(LmxError):
    code, status = "queue_full", 429


class RateLimitError(LmxError):
    code, status = "rate_limit_exceeded", 429


class UntrustedModelError(LmxError):
    code, status = "untrusted_model", 403


class ModelLoadError(LmxError):
    code, status = "model_load_failed", 500


class WorkerError(LmxError):
    code, status = "worker_failed", 500


class WorkerHungError(WorkerError):
    code = "worker_hung"


class CrashLoopError(WorkerError):
    code, status = "crash_loop", 503


class EngineMissingError(WorkerError):
    code = "engine_missing"


class OutOfMemoryError(LmxError):
    code, status = "out_of_memory", 507


class DeadlineError(LmxError):
    code, status = "deadline_exceeded", 504


class CancelledError(LmxError):
    code, status = "cancelled", 499


class ShuttingDownError(LmxError):
    code, status = "shutting_down", 503


class DownloadingError(LmxError):
    code, status = "model_downloading", 503


class HubError(LmxError):
    code, status = "hub_error", 502


class IntegrityError(HubError):
    code = "hash_mismatch"


class DiskError(LmxError):
    code, status = "disk_error", 507


class NewerStateError(DiskError):
    code = "newer_state"


class ConfigError(LmxError):
    code, status = "bad_config", 400


class StartupError(LmxError):
    code = "cannot_start"


class DaemonUnreachableError(LmxError):
    code, status = "daemon_unreachable", 503


class DaemonSilentError(DaemonUnreachableError):
    code, status = "daemon_silent", 504


class ProtocolMismatchError(LmxError):
    code, status = "protocol_mismatch", 426


def _tree(root: type[LmxError]) -> Iterator[type[LmxError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def error_from(body: ErrorBody) -> LmxError:
    """Return the exception that `body` was made from; for an unknown code, a plain LmxError with that code."""
    for kind in _tree(LmxError):
        if kind.code == body.code:
            return kind(body.message, hint=body.hint, param=body.param, retry_after=body.retry_after)
    error = LmxError(body.message, hint=body.hint, param=body.param, retry_after=body.retry_after)
    error.code = body.code
    return error
