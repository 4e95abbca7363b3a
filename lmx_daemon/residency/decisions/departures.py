"""The unloading of models: no new requests are accepted, running ones end, and then the process ends."""

from lmx_daemon.contract.errors import CancelledError, LmxError
from lmx_daemon.residency.decisions.resident import Resident
from lmx_daemon.residency.decisions.residents import Residents
from lmx_daemon.residency.effects import Effects
from lmx_daemon.residency.requests.request_registry import RequestRegistry
from lmx_daemon.settings.source import SettingsSource


class Departures:
    """The part of the scheduler that ends residents. Other parts decide on the reasons."""

    def __init__(
        self, residents: Residents, requests: RequestRegistry, effects: Effects, settings: SettingsSource
    ) -> None:
        self._residents = residents
        self._requests = requests
        self._effects = effects
        self._settings = settings

    def begin(self, resident: Resident, *, force: bool) -> None:
        """Unload a resident once its requests have ended, or at once with `force`."""
        if resident.state == "leaving":
            return
        resident.phase = "leaving"
        if force or not resident.in_use:
            self._unload(resident)
        self._effects.notify(resident.id)

    def advance(self, resident: Resident) -> None:
        """End the process of a leaving resident if its requests have ended."""
        if resident.phase == "leaving" and not resident.process_dismissed and not resident.in_use:
            self._unload(resident)

    def revoke(self, resident: Resident) -> None:
        """Cancel the unloading of a resident that still waits for its requests to end."""
        resident.phase = "ready"
        self._effects.notify(resident.id)

    def end(self, resident: Resident, error: LmxError, seconds: float | None = None) -> None:
        """Fail all requests of a resident and end its process, which has `seconds` to exit."""
        resident.phase = "leaving"
        self._requests.end(resident.id, error)
        if resident.process is None or not resident.process.alive:
            self.complete(resident)
        elif not resident.process_dismissed:
            resident.process_dismissed = True
            self._effects.leave(
                resident.id, self._settings.current.engine.leave_seconds if seconds is None else seconds
            )
        self._effects.notify(resident.id)

    def complete(self, resident: Resident) -> None:
        """Remove a resident whose process has ended."""
        resident.phase = "gone"
        self._residents.forget(resident)
        self._effects.notify(resident.id)

    def _unload(self, resident: Resident) -> None:
        self.end(resident, CancelledError(f"{resident.model.id} was unloaded"))
