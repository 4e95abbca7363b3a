"""Records of pulls on the disk."""

from pathlib import Path

import pytest

from lmx_daemon.contract.admin.library.pulls import PullRequest
from lmx_daemon.contract.errors import DiskError, ErrorBody
from lmx_daemon.library.pull.pull_queue import PullQueue
from lmx_daemon.library.pull.records import PullRecord, PullRecords
from lmx_daemon.settings.schema import LibrarySettings
from tests.library.conftest import REPO
from tests.library.pull.test_decisions import job


class TestRecords:
    async def test_written_record_is_read(self, tmp_path: Path) -> None:
        records = PullRecords(tmp_path / "new")
        record = PullRecord(id="a", repo="x/y", state="failed", error=ErrorBody(code="hub_error", message="no"))
        await records.keep(record)
        await records.keep(job("b", -1))
        assert list(PullRecords(tmp_path / "new")) == [job("b", -1), record]
        await records.forget("a")
        await records.forget("a")
        assert [left.id for left in PullRecords(tmp_path / "new")] == ["b"] == [left.id for left in records]

    @pytest.mark.parametrize(
        "content",
        [b"", b"{}", b"[1]", b"\xff\xfe", b"[" * 9999, b'{"id": "y", "repo": "a/b"}'],
        ids=["empty", "no fields", "a list", "not UTF-8", "nested", "another id"],
    )
    def test_unreadable_record_is_renamed(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_bytes(content)
        assert list(PullRecords(tmp_path)) == []
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [content]

    async def test_record_that_cannot_be_deleted_stays_listed(self, tmp_path: Path) -> None:
        records = PullRecords(tmp_path)
        await records.keep(PullRecord(id="a", repo=REPO, state="done"))
        (tmp_path / "a.json").unlink()
        (tmp_path / "a.json").mkdir()
        with pytest.raises(DiskError):
            await records.forget("a")
        assert [record.id for record in records] == ["a"]

    async def test_pull_is_refused_when_its_record_cannot_be_written(
        self, environ: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        pulls = PullQueue(LibrarySettings, environ, tmp_path / "file" / "records")
        with pytest.raises(DiskError):
            await pulls.start(PullRequest(repo=REPO))
        assert pulls.list() == []
