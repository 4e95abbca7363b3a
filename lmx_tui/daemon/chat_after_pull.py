"""ChatAfterPull: the model with which a chat opens once its download has ended."""

from lmx_daemon.contract.admin.library.pulls import DOWNLOAD_ENDS
from lmx_daemon.contract.admin.snapshot import Snapshot


class ChatAfterPull:
    """The wait for at most one model."""

    def __init__(self) -> None:
        self._repo = ""
        self._earlier: frozenset[str] = frozenset()
        """Downloads that had ended before the wait began."""

    def begin(self, repo: str, snapshot: Snapshot | None) -> None:
        """Wait for a model, instead of an earlier one."""
        downloads = snapshot.downloads if snapshot else ()
        self._repo = repo.partition("@")[0]
        self._earlier = frozenset(download.id for download in downloads if download.state in DOWNLOAD_ENDS)

    def cancel(self) -> bool:
        """End the wait. Return whether there was one."""
        waited, self._repo = bool(self._repo), ""
        return waited

    def arrived(self, snapshot: Snapshot) -> str | None:
        """Return the awaited model once it is installed, else None. A failed or cancelled download ends the wait."""
        downloads = [one for one in snapshot.downloads if one.repo == self._repo and one.id not in self._earlier]
        if not self._repo or any(one.state not in DOWNLOAD_ENDS for one in downloads):
            return None
        if any(model.id == self._repo for model in snapshot.models):
            model, self._repo = self._repo, ""
            return model
        if any(one.state in ("failed", "cancelled") for one in downloads):
            self._repo = ""
        return None
