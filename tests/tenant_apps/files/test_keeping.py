"""Keeping files: whole or not at all, and nothing left behind."""

import io
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from shared_apps.core.context import InstitutionContext
from shared_apps.core.errors import Gone, Unavailable
from tenant_apps.files import services
from tenant_apps.files.models import StoredFile


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def kept(chunks: Any = (b"one ", b"two"), **more: Any) -> StoredFile:
    values = {"name": "a.txt", "content_type": "text/plain", "purpose": "test", "owner": None, **more}
    return services.keep(chunks=chunks, **values)


def lying(media: Path) -> list[Path]:
    return sorted(path for path in media.rglob("*") if path.is_file())


def make_old(path: Path) -> None:
    then = time.time() - services.ORPHANED_AFTER.total_seconds() - 60
    os.utime(path, (then, then))


def test_a_kept_file_is_whole_and_lies_within_its_institution(inside: InstitutionContext, media: Path) -> None:
    stored = kept()
    assert services.open_file(stored).read() == b"one two"
    assert stored.size == 7
    assert lying(media) == [stored.place]
    assert stored.path.startswith(f"{inside.id}/files/")
    assert stored.place.stat().st_mode & 0o777 == services.FILE_MODE
    assert kept(io.BytesIO(b"from a file")).size == 11


def test_a_writer_that_breaks_off_leaves_nothing(inside: InstitutionContext, media: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kept(broken())
    assert lying(media) == []
    assert not StoredFile.objects.exists()


def test_a_full_disk_is_said_so_and_leaves_nothing(
    inside: InstitutionContext, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Unavailable) as refused:
        kept()
    assert refused.value.code == "no_room"
    assert lying(media) == []


@pytest.mark.parametrize("given", ["../../etc/passwd", "C:\\a\\b.csv", "\x00\x1b[31mred.csv", "  . ", "ü" * 400])
def test_a_name_is_only_ever_a_name(inside: InstitutionContext, media: Path, given: str) -> None:
    stored = kept(name=given)
    assert stored.name
    assert "/" not in stored.name
    assert stored.name.isprintable()
    assert len(stored.name) <= 255
    assert given[:5] not in stored.path


def test_the_sweep_takes_orphans_and_leaves_young_and_known_files(inside: InstitutionContext, media: Path) -> None:
    stored = kept()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        lost = kept()
        raise ZeroDivisionError
    writing = services.Incoming()
    writing.write(b"killed")
    for path in lying(media):
        assert path.exists()
        if path != writing.path:
            make_old(path)
    assert services.sweep_orphans() == 1
    assert not lost.place.exists()
    assert {stored.place, writing.path} == set(lying(media))
    make_old(writing.path)
    assert services.sweep_orphans() == 1
    assert lying(media) == [stored.place]
    writing.discard()


def test_an_expired_file_is_gone_before_the_sweep_and_after(
    inside: InstitutionContext, media: Path, django_capture_on_commit_callbacks: Any
) -> None:
    now = timezone.now()
    over, good = kept(expires_at=now - timedelta(seconds=1)), kept(expires_at=now + timedelta(hours=1))
    with pytest.raises(Gone):
        services.open_file(over)
    with django_capture_on_commit_callbacks(execute=True):
        assert services.sweep_expired() == 1
    assert lying(media) == [good.place]
    assert list(StoredFile.objects.all()) == [good]


def test_a_content_is_removed_only_when_its_row_is_gone_for_good(inside: InstitutionContext, media: Path) -> None:
    stored = kept()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        services.remove(StoredFile.objects.get(pk=stored.pk))
        raise ZeroDivisionError
    assert services.open_file(StoredFile.objects.get(pk=stored.pk)).read() == b"one two"
