"""Downloads of models that a request names and that are not installed, for the setting `download_missing`."""

from collections.abc import Iterable

from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS, Download, DownloadState, PullRequest
from lmx_daemon.contract.errors import DownloadingError, error_from
from lmx_daemon.library.catalog.model_names import REPOSITORY
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.router.resolve import Candidate

ENDED: frozenset[DownloadState] = frozenset({"done", "cancelled"})
"""States of a download that is started anew, since its model is not installed."""
RETRY_SECONDS = 30.0
"""Time after which a client may repeat a request whose model is being downloaded."""


class MissingModels:
    """The downloads that requests start."""

    def __init__(self, pulls: PullQueue) -> None:
        self._pulls = pulls

    async def download(self, candidates: Iterable[Candidate]) -> None:
        """Start the download of the first candidate that is a repository, and raise DownloadingError.

        Return if there is none. Raise the error of a download that has failed; it is not started again.
        """
        repo = next((each.name for each in candidates if REPOSITORY.fullmatch(each.name)), None)
        if repo is None:
            return
        known = next((each for each in self._pulls.list() if each.repo == repo and each.state not in ENDED), None)
        if known is not None and known.state == "failed" and known.error is not None:
            raise error_from(known.error)
        raise downloading(known or await self._pulls.start(PullRequest(repo=repo)))


def downloading(download: Download) -> DownloadingError:
    """Return the error of a request whose model is being downloaded."""
    share = f", {download.done / download.total:.0%}" if download.total else ""
    stopped = download.state in DOWNLOAD_ENDS
    return DownloadingError(
        f"{download.repo} is not installed; its download is {download.state}{share}",
        param="model",
        hint=f"`lmx downloads resume {download.id}` continues it" if stopped else "`lmx downloads` shows its progress",
        retry_after=None if stopped else RETRY_SECONDS,
    )
