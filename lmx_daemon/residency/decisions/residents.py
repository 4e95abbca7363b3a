"""All residents, by id: the models that are loading, loaded or leaving."""

from collections.abc import Iterator

from lmx_daemon.contract.models import Model
from lmx_daemon.residency.decisions.loading.placement import Claim
from lmx_daemon.residency.decisions.resident import Resident
from lmx_daemon.residency.requests.request_registry import RequestRegistry


class Residents:
    """The collection that the parts of the scheduler share."""

    def __init__(self, requests: RequestRegistry) -> None:
        self._requests = requests
        self._residents: dict[str, Resident] = {}

    def __iter__(self) -> Iterator[Resident]:
        return iter(list(self._residents.values()))

    def get(self, identity: str) -> Resident | None:
        """Return the resident with this id; None if there is none."""
        return self._residents.get(identity)

    def add(self, resident: Resident) -> None:
        """Add a resident, and connect it with its requests."""
        resident.requests = self._requests.of(resident.id)
        self._residents[resident.id] = resident

    def forget(self, resident: Resident) -> None:
        """Remove a resident."""
        self._residents.pop(resident.id, None)
        self._requests.forget(resident.id)

    def busy(self) -> bool:
        """Return whether a request waits or runs."""
        return any(resident.in_use for resident in self)

    def serving(self, model: Model) -> Resident | None:
        """Return the resident that serves `model`, now or once it is loaded.

        A resident that still waits for its requests to end serves new ones, which would otherwise wait too.
        """
        found = [each for each in self if each.model.id == model.id]
        staying = next((each for each in found if each.state != "leaving"), None)
        return staying or next((each for each in found if each.finishing), None)

    def claims(self, without: Resident | None = None) -> list[Claim]:
        """Return the claims of residents that hold memory or load. The model of `without` is excluded."""
        left_out = without.model.id if without is not None else None
        return [found.claim() for found in self if found.model.id != left_out and _takes_memory(found)]


def _takes_memory(resident: Resident) -> bool:
    if resident.state == "leaving":
        return resident.process is not None
    return resident.state in ("loading", "ready")
