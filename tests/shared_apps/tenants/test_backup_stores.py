"""A directory and an object store keep backups alike: whole or not at all, and their trouble is no backup's fault."""

import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from structlog.testing import capture_logs

from shared_apps.core.context import InstitutionContext, platform
from shared_apps.core.errors import Invalid
from shared_apps.tenants.backups import back_up, keeping, scheduled, stores, verify
from shared_apps.tenants.backups import object_store as object_store_module
from shared_apps.tenants.backups.object_store import ObjectStore
from shared_apps.tenants.models import Backup
from tests.objects import settings_of, without_bucket
from tests.shared_apps.tenants.archives import content_of, tenant_of
from tests.shared_apps.tenants.test_backups import campus_names, now_at, rename_the_campus

KEY = "somebody/20260901T080000Z-1f2e3d.age"
PART = 5 * 1024 * 1024  # the least that S3 takes
CONTENT = os.urandom(2 * PART + 1)


@pytest.fixture(autouse=True)
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than 5 MB goes in parts."""
    few = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1)
    monkeypatch.setattr(object_store_module, "TRANSFER", few)


def keep(key: str = KEY, content: bytes = CONTENT) -> None:
    with stores.store().arriving(key) as path:
        path.write_bytes(content)


def test_what_arrives_is_listed_read_and_removed(kept: str) -> None:
    assert stores.store().keys("") == []
    later = KEY.replace("08", "09")
    for key in (later, KEY, "platform/20260901T080000Z-000000.age"):
        keep(key)
    keep("somebody/readme.txt", b"ours it is not")
    assert stores.store().keys("somebody/") == [KEY, later]
    assert len(stores.store().keys("")) == 3
    with stores.store().at_hand(KEY) as path:
        assert path.read_bytes() == CONTENT
    stores.store().remove(KEY)
    stores.store().remove(KEY)
    assert stores.store().keys("somebody/") == [later]
    with pytest.raises(Invalid, match="no such backup") as refused, stores.store().at_hand(KEY):
        pass
    assert refused.value.code == "no_backup"


def test_what_ends_in_an_error_is_not_there(kept: str) -> None:
    def half() -> None:
        with stores.store().arriving(KEY) as path:
            path.write_bytes(CONTENT[:PART])
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        half()
    assert stores.store().keys("") == []


def in_a_child(work: Callable[[], Any]) -> int:
    """The exit code of a process that does the work: 1 when it fails."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class InPlace(stores.Directory):
    """The naive way: written where it is looked for."""

    @contextmanager
    def arriving(self, key: str) -> Iterator[Path]:
        target = self._root / key
        target.parent.mkdir(parents=True)
        yield target


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "in place"])
def test_a_killed_writer_leaves_nothing_that_is_seen(
    places: Path, naive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if naive:
        monkeypatch.setattr(stores, "Directory", InPlace)

    def killed() -> None:
        with stores.store().arriving(KEY) as path:
            path.write_bytes(CONTENT[:PART])
            os.kill(os.getpid(), signal.SIGKILL)

    (places / "backups").mkdir()
    assert in_a_child(killed) == -signal.SIGKILL
    assert bool(stores.store().keys("")) is naive
    if not naive:
        keep("another/1.age")
        assert [path.name for path in (places / "backups" / ".arriving").iterdir()] == [".lock"], "it is swept"


def test_a_killed_upload_leaves_nothing_that_is_seen_and_its_parts_are_swept(
    places: Path, object_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with override_settings(BACKUP_STORE=settings_of(object_store)):

        def killed() -> None:
            kept = stores.store()
            assert isinstance(kept, ObjectStore)
            kept._client.meta.events.register(
                "after-call.s3.UploadPart", lambda **named: os.kill(os.getpid(), signal.SIGKILL)
            )
            with kept.arriving(KEY) as path:
                path.write_bytes(CONTENT)

        def parts() -> int:
            kept = stores.store()
            assert isinstance(kept, ObjectStore)
            return len(kept._client.list_multipart_uploads(Bucket=kept._bucket).get("Uploads", []))

        assert in_a_child(killed) == -signal.SIGKILL
        assert (stores.store().keys(""), parts()) == ([], 1)
        with monkeypatch.context() as young:  # this server says of every upload that it was begun in 2010
            young.setattr(object_store_module, "ABANDONED", timedelta(days=36_500))
            keep("another/1.age")
        assert parts() == 1, "somebody may still be at it"
        keep("another/2.age")
        assert parts() == 0
        keep()
        with stores.store().at_hand(KEY) as path:
            assert path.read_bytes() == CONTENT


def away(kept: str, places: Path) -> Any:
    """Settings under which the store does not answer."""
    if kept == "directory":
        (places / "backups").rename(places / "elsewhere")
        return override_settings()
    return override_settings(BACKUP_STORE=settings_of("http://127.0.0.1:9"))


def test_a_store_that_is_away_is_trouble_and_no_verdict(kept: str, places: Path, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    with away(kept, places):
        with pytest.raises(OSError, match=r"mounted|object store"):
            verify(made)
        with pytest.raises(OSError, match=r"mounted|object store"):
            stores.store().keys("")
    with platform():
        assert Backup.objects.get().verdict == ""


def test_a_bucket_that_is_gone_is_trouble_and_no_verdict(
    places: Path, object_store: str, greenwood: InstitutionContext
) -> None:
    with override_settings(BACKUP_STORE=settings_of(object_store)):
        made = back_up(tenant=tenant_of(greenwood))
        stores.store().remove(made.file)
        assert verify(made).verdict == "bad", "negative control: the file alone is gone"
        without_bucket(object_store)
        for trouble in (lambda: verify(made), keep, lambda: stores.store().keys("")):
            with pytest.raises(OSError, match="object store"):
                trouble()


def test_the_clock_tries_again_when_the_store_is_back(places: Path, object_store: str) -> None:
    with override_settings(BACKUPS_SCHEDULED=True, BACKUP_STORE=settings_of(object_store)):
        with override_settings(BACKUP_STORE=settings_of("http://127.0.0.1:9")), capture_logs() as lines:
            assert scheduled.make_due_backups() == []
        assert {line["event"] for line in lines} == {"backup_failed"}
        assert len(lines) == scheduled.TROUBLES, "it gives up, and does not try every institution"
        with platform():
            assert not Backup.objects.exists()
        assert len(scheduled.make_due_backups()) == 4
        assert len(stores.store().keys("")) == 4


def test_a_full_disk_leaves_nothing_that_is_seen(kept: str, places: Path, greenwood: InstitutionContext) -> None:
    """The kernel refuses to write more than so much into one file, in a process of its own."""
    (places / "media" / str(greenwood.id)).mkdir(parents=True)
    (places / "media" / str(greenwood.id) / "film.mp4").write_bytes(CONTENT)

    def limited(size: int) -> Callable[[], None]:
        def work() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            try:
                back_up(tenant=tenant_of(greenwood))
            except OSError:
                os._exit(28)

        return work

    assert in_a_child(limited(PART)) == 28
    with platform():
        assert (Backup.objects.count(), stores.store().keys("")) == (0, [])
    assert in_a_child(limited(4 * PART)) == 0, "negative control: with room it is made"
    with platform():
        assert [made.file for made in Backup.objects.all()] == stores.store().keys("")


def test_who_reads_a_backup_is_not_disturbed_by_its_being_forgotten(kept: str, greenwood: InstitutionContext) -> None:
    made = back_up(tenant=tenant_of(greenwood))
    with keeping.at_hand(made) as path:
        before = path.read_bytes()
        with platform():
            keeping.forget(made)
        assert stores.store().keys("") == []
        assert path.read_bytes() == before


def test_backup_verification_and_restore_go_through_it(
    kept: str, greenwood: InstitutionContext, lumiere: InstitutionContext, capsys: pytest.CaptureFixture[str]
) -> None:
    neighbour = content_of(lumiere.schema_name)

    def ordered(*words: str) -> str:
        with platform():
            call_command("tenant", *words)
        return capsys.readouterr().out

    where, _, size = ordered("backup", "greenwood").rstrip().partition(" ")
    assert re.fullmatch(r"\([1-9][0-9]*\.[0-9] kB\)", size), "what is small is not 0.0 MB"
    assert size[1:-1] in ordered("backups", "greenwood")
    assert where.startswith("s3://lyceum-backups/our/backups/" if kept == "object store" else "/")
    assert "is good: " in ordered("verify-backup", "greenwood")
    assert "restored" in ordered("backups", "greenwood")
    rename_the_campus(greenwood, "By mistake")
    ordered("restore", "greenwood", "--file", where)
    assert "By mistake" not in campus_names(now_at(greenwood))
    assert content_of(lumiere.schema_name) == neighbour
    ordered("backup", "--platform")
    assert "is good: " in ordered("verify-backup", "--platform")
    assert where.rpartition("/")[0] not in ordered("backups", "--platform")
