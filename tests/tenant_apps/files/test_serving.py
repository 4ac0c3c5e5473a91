"""Downloads: whose they are, and the parts of a file that a client asks for."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.files import services
from tenant_apps.files.models import StoredFile
from tests import cast as casting
from tests.api import Asker, as_person, nobody

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def cast(db: None, greenwood: InstitutionContext, settings: Any, tmp_path: Path) -> casting.Cast:
    settings.MEDIA_ROOT = tmp_path
    return casting.of(greenwood)


@pytest.fixture
def teacher(cast: casting.Cast) -> Asker:
    return as_person(cast.institution, cast.teacher)


@pytest.fixture
def stored(cast: casting.Cast) -> StoredFile:
    with institution(cast.institution):
        return services.keep(
            name="Übersicht \"1\".csv", content_type="text/csv", purpose="export", chunks=[CONTENT],
            owner=cast.teacher.user_id,
        )  # fmt: skip


def body(answer: HttpResponse) -> bytes:
    return answer.getvalue()


def test_the_owner_downloads_it_as_an_attachment(teacher: Asker, stored: StoredFile) -> None:
    answer = teacher.get(stored.url)
    assert (answer.status_code, body(answer)) == (200, CONTENT)
    assert answer["Content-Length"] == str(len(CONTENT))
    assert answer["Content-Disposition"] == "attachment; filename*=utf-8''%C3%9Cbersicht%20%221%22.csv"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "private, no-cache"
    assert teacher.get(stored.url, HTTP_IF_NONE_MATCH=answer["ETag"]).status_code == 304


def test_nobody_else_learns_that_it_exists(cast: casting.Cast, stored: StoredFile, lumiere: InstitutionContext) -> None:
    assert as_person(cast.institution, cast.principal).get(stored.url).status_code == 404
    assert as_person(lumiere, casting.of(lumiere).teacher).get(stored.url).status_code == 404
    assert nobody(cast.institution).get(stored.url).status_code == 401
    assert as_person(cast.institution, cast.teacher).get("/api/v1/files/nonsense/").status_code == 400


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-0", 206, CONTENT[:1]),
        ("bytes=100-199", 206, CONTENT[100:200]),
        ("bytes=1000-", 206, CONTENT[1000:]),
        ("bytes=-24", 206, CONTENT[-24:]),
        ("bytes=1000-99999", 206, CONTENT[1000:]),
        ("bytes=-99999", 200, CONTENT),
        ("bytes=0-0,5-6", 200, CONTENT),
        ("bytes=9-3", 200, CONTENT),
        ("rows=1-2", 200, CONTENT),
        ("bytes=-", 200, CONTENT),
    ],
)
def test_a_range_answers_exactly_that_part(
    teacher: Asker, stored: StoredFile, asked: str, status: int, part: bytes
) -> None:
    answer = teacher.get(stored.url, HTTP_RANGE=asked)
    assert (answer.status_code, body(answer)) == (status, part)
    if status == 206:
        start = CONTENT.index(part) if len(part) > 1 else 0
        assert answer["Content-Length"] == str(len(part))
        assert answer["Content-Range"].endswith("/1024")
        assert start <= int(answer["Content-Range"].split()[1].split("-")[0])


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=-0"])
def test_a_part_that_the_file_does_not_have_is_416(teacher: Asker, stored: StoredFile, asked: str) -> None:
    answer = teacher.get(stored.url, HTTP_RANGE=asked)
    assert (answer.status_code, answer["Content-Range"]) == (416, "bytes */1024")
    assert answer.json()["code"] == "no_such_part"


def test_a_range_of_another_version_is_answered_whole(teacher: Asker, stored: StoredFile) -> None:
    assert teacher.get(stored.url, HTTP_RANGE="bytes=0-1", HTTP_IF_RANGE='"other"').status_code == 200
    tag = teacher.get(stored.url)["ETag"]
    assert teacher.get(stored.url, HTTP_RANGE="bytes=0-1", HTTP_IF_RANGE=tag).status_code == 206


def test_head_says_everything_but_the_content(teacher: Asker, stored: StoredFile) -> None:
    answer = teacher.ask("HEAD", stored.url)
    assert (answer.status_code, answer["Content-Length"], body(answer)) == (200, "1024", b"")


def test_streaming_asks_the_database_nothing(
    teacher: Asker, stored: StoredFile, django_assert_num_queries: Any
) -> None:
    answer = teacher.get(stored.url)
    with django_assert_num_queries(0):
        assert body(answer) == CONTENT


def test_an_expired_or_missing_file_is_gone(teacher: Asker, stored: StoredFile, cast: casting.Cast) -> None:
    with institution(cast.institution):
        stored.place.unlink()
    assert teacher.get(stored.url).status_code == 410
    with institution(cast.institution):
        StoredFile.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert teacher.get(stored.url).status_code == 410


def test_the_web_server_in_front_sends_it_when_told_so(teacher: Asker, stored: StoredFile, settings: Any) -> None:
    settings.FILES_SENT_BY_PROXY = True
    answer = teacher.get(stored.url)
    assert (answer.status_code, body(answer)) == (200, b"")
    assert answer["X-Accel-Redirect"] == f"/protected/{stored.path}"
    assert "ETag" not in answer.headers
