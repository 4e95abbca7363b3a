"""The library's front desk: builds its parts, answers what the admin routes ask, and tidies up once a minute."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from lmx_daemon.contract.config import Home, LibrarySettings
from lmx_daemon.contract.library import Details, TrustRequest, TrustRow
from lmx_daemon.library.describe import read_object, template
from lmx_daemon.library.download import Pulls
from lmx_daemon.library.proofs import changed
from lmx_daemon.library.proving import Proving, rows_of
from lmx_daemon.library.shelf import Shelf
from lmx_daemon.library.verify import expected_of, files_of

TIDY_SECONDS = 60.0


class Librarian:
    def __init__(
        self,
        home: Home,
        settings: LibrarySettings,
        environ: Mapping[str, str],
        pulls: Pulls,
    ) -> None:
        self.shelf = Shelf(home, settings, environ)
        self.proving = Proving(self.shelf, pulls)

    async def run(self) -> None:
        """For ever."""
        await asyncio.to_thread(self.shelf.catalog.refresh)
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await asyncio.to_thread(self.tidy)

    def tidy(self) -> None:
        self.shelf.uses.save()

    # ---- one model ----

    def details(self, name: str) -> Details:
        """All that its files say. Blocking. Raises ModelNotFoundError."""
        model = self.shelf.catalog.find(name)
        folder = Path(model.path)
        manifest = self.shelf.proofs.get(model)
        expected = expected_of(model, manifest)
        changes = {fault.path: fault.reason for fault in changed(manifest, folder)} if manifest else {}
        return Details(
            model=model,
            files=rows_of(model, expected.manifest, files_of(folder), changes),
            proof=expected.against if expected.manifest else "nothing yet",
            config=read_object(folder / "config.json") or {},
            template=template(folder, read_object(folder / "tokenizer_config.json") or {}),
        )

    # ---- trust ----

    def trusted(self) -> list[TrustRow]:
        return [TrustRow(id=found.id, revision=found.revision, at=found.at) for found in self.shelf.trust.list()]

    def trust(self, request: TrustRequest) -> TrustRow:
        """Blocking. Raises ModelNotFoundError, RequestError."""
        if request.withdraw:
            gone = self.shelf.trust.withdraw(request.id)
            self.shelf.catalog.refresh()
            return TrustRow(id=request.id, revision="" if gone else "-")
        model = self.shelf.catalog.find(request.id)
        allowed = self.shelf.trust.allow(model, request.revision)
        self.shelf.catalog.refresh()
        return TrustRow(id=allowed.id, revision=allowed.revision, code=model.code, at=allowed.at)
