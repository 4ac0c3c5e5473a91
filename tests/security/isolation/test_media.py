"""Files: by no address, no name and no row does one institution reach what lies in another's folder, or elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.media import own_file
from tenant_apps.files import services
from tenant_apps.files.models import StoredFile
from tenant_apps.interop.models import RosterImport
from tests import cast
from tests.api import Asker, as_person
from tests.tenant_apps.files.sending import send

SECRET = b"canarybird in a file"


@pytest.fixture
def media(db: None, settings: Any, tmp_path: Path, lumiere: InstitutionContext) -> Path:
    """lumiere keeps a secret, and so does the server."""
    settings.MEDIA_ROOT = tmp_path / "media"
    with institution(lumiere):
        services.keep(name="secret.csv", content_type="text/csv", purpose="export", chunks=[SECRET], owner=None)
    (tmp_path / "server.key").write_bytes(SECRET)
    return tmp_path / "media"


def ways_out(media: Path, greenwood: InstitutionContext, lumiere: InstitutionContext) -> list[str]:
    """Paths below MEDIA_ROOT, as a row might name them, that lead to a secret."""
    (theirs,) = [path.relative_to(media) for path in (media / str(lumiere.id)).rglob("*") if path.is_file()]
    return [
        str(theirs),
        f"{greenwood.id}/../{theirs}",
        f"{greenwood.id}/files/../../{theirs}",
        f"./{theirs}",
        "../server.key",
        f"{greenwood.id}/../../server.key",
        str(media.parent / "server.key"),
    ]


@pytest.fixture
def stored(media: Path, greenwood: InstitutionContext) -> StoredFile:
    with institution(greenwood):
        return services.keep(
            name="own.csv", content_type="text/csv", purpose="export", chunks=[b"own"], owner=cast.user_id("teacher")
        )


def named(stored: StoredFile, path: str, place: InstitutionContext) -> None:
    """What an SQL injection, or a forged backup, could make of a row."""
    with institution(place):
        StoredFile.objects.filter(pk=stored.pk).update(path=path)
        stored.refresh_from_db()


@pytest.mark.parametrize("by_proxy", [False, True], ids=["sent by us", "sent by nginx"])
def test_a_row_that_names_another_s_file_has_it_neither_sent_nor_removed(
    media: Path,
    stored: StoredFile,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    settings: Any,
    by_proxy: bool,
) -> None:
    settings.FILES_SENT_BY_PROXY = by_proxy
    teacher = as_person(greenwood, cast.of(greenwood).teacher)
    assert teacher.get(stored.url).status_code == 200, "the control"
    for path in ways_out(media, greenwood, lumiere):
        named(stored, path, greenwood)
        answer = teacher.get(stored.url)
        assert answer.status_code == 500, path
        assert SECRET not in answer.content
        assert "X-Accel-Redirect" not in answer.headers
        with institution(greenwood), pytest.raises(SuspiciousFileOperation):
            services.remove(stored)
        assert (media / path).read_bytes() == SECRET


def test_a_place_below_the_root_that_is_not_looked_at_would_send_them(
    media: Path,
    stored: StoredFile,
    greenwood: InstitutionContext,
    lumiere: InstitutionContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control: MEDIA_ROOT and the row's path, put together."""
    monkeypatch.setattr("tenant_apps.files.models.own_file", lambda path: media / path)
    teacher = as_person(greenwood, cast.of(greenwood).teacher)
    with institution(greenwood):
        StoredFile.objects.filter(pk=stored.pk).update(size=len(SECRET))
    for path in ways_out(media, greenwood, lumiere):
        named(stored, path, greenwood)
        assert teacher.get(stored.url).getvalue() == SECRET


def test_a_roster_s_row_leads_to_no_other_folder(
    media: Path, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    with institution(greenwood):
        for path in (*ways_out(media, greenwood, lumiere), "", ".", "a\x00b", str(lumiere.id)):
            with pytest.raises(SuspiciousFileOperation):
                assert RosterImport(stored_path=path).upload
        assert own_file(f"{greenwood.id}/files/x") == media / str(greenwood.id) / "files" / "x"


ADDRESSES: tuple[Callable[[str], str], ...] = (
    lambda path: f"/api/v1/files/{path}/",
    lambda path: f"/static/{path}",
    lambda path: f"/static/../{path}",
    lambda path: f"/static/%2e%2e/%2e%2e/{path}",
    lambda path: f"/static/..%2f..%2f{path}",
    lambda path: f"/static/....//....//{path}",
    lambda path: f"/media/{path}",
    lambda path: f"/protected/{path}",
    lambda path: f"/{path}",
    lambda path: f"//{path}",
    lambda path: f"/api/v1/files/..%2f..%2f{path}/",
    lambda path: f"/api/v1/reports/artifacts/..%2f{path}/download/",
)


def test_no_address_leads_to_a_file(media: Path, greenwood: InstitutionContext, lumiere: InstitutionContext) -> None:
    teacher = as_person(greenwood, cast.of(greenwood).teacher)
    for path in ways_out(media, greenwood, lumiere):
        for address in ADDRESSES:
            for asker in (teacher, Asker(teacher.host)):
                answer = asker.get(address(path.lstrip("/")))
                assert answer.status_code in (400, 401, 404), address(path)


@pytest.mark.parametrize(
    "name",
    ["../../etc/cron.d/x.csv", "..\\..\\x.csv", "/etc/passwd.csv", "a\x00b.csv", "....//x.csv", "x.csv/../../y.csv"],
)
def test_the_name_of_an_upload_decides_nothing_about_its_place(
    media: Path, greenwood: InstitutionContext, name: str
) -> None:
    principal = as_person(greenwood, cast.of(greenwood).principal)
    before = {path for path in media.parent.rglob("*") if path.is_file()}
    answer = send(principal, "/api/v1/school/campuses/import/", b"code,name\r\nX,Y\r\n", name=name)
    assert answer.status_code in (200, 202, 400), answer.content
    added = {path for path in media.parent.rglob("*") if path.is_file()} - before
    assert all(path.is_relative_to(media / str(greenwood.id)) for path in added)
    assert not [path for path in added if "cron" in str(path) or "passwd" in str(path)]
