"""What the platform says of a request elsewhere than in the answer: log lines and figures. Of an institution they name
its slug, of a person the id, and nothing that people have written."""

import io
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any
from uuid import UUID

import orjson
import pytest
import structlog
from django.db import DatabaseError, connection, transaction
from prometheus_client import REGISTRY, Counter, generate_latest
from prometheus_client.registry import CollectorRegistry

from shared_apps.core import logs
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.school.models import Institution
from tests import cast
from tests.api import Asker, nobody
from tests.security.isolation.canaries import CANARY, Twins, Watched, sings
from tests.security.isolation.probing import addresses

STUDENTS = "/api/v1/school/students/"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that is logged, at every level and as it is written: the lines of both loggers."""
    lines = io.StringIO()
    root, held = logging.getLogger(), logging.getLogger().handlers[:]
    before = structlog.get_config()
    with redirect_stdout(lines):
        logs.configure("DEBUG")
        structlog.configure(cache_logger_on_first_use=False)
        for name in ("lyceum.request", "shared_apps.core.middleware"):
            logging.getLogger(name).disabled = False
        monkeypatch.setattr("shared_apps.core.middleware.log", structlog.get_logger("lyceum.request"))
        monkeypatch.setattr("tenant_apps.eventlog.jobs.log", structlog.get_logger("jobs"))
        yield lines
    root.handlers = held
    root.setLevel(logging.ERROR)
    structlog.configure(**before)


@pytest.fixture
def there(there: Asker, twins: Twins) -> Asker:
    """At a time zone that there is: days are counted by it."""
    with institution(twins.there):
        Institution.objects.update(time_zone="Europe/Paris")
    return there


def battery(there: Asker) -> None:
    """Reads, writes, refusals, conflicts and mistakes at the host of the canaries, with canaries in every part that is
    not the path."""
    listed = there.get(f"{STUDENTS}?search={CANARY}").json()
    student = listed["results"][0] if listed["results"] else there.get(STUDENTS).json()["results"][0]
    there.get(f"{STUDENTS}?{CANARY}={CANARY}")
    there.get(
        f"{STUDENTS}{student['id']}/", HTTP_USER_AGENT=CANARY, HTTP_REFERER=f"http://{CANARY}/", HTTP_COOKIE=CANARY
    )
    there.patch(f"{STUDENTS}{student['id']}/", {"family_name": CANARY, "birth_date": CANARY})
    there.patch(f"{STUDENTS}{student['id']}/", {"family_name": CANARY})
    there.post(STUDENTS, {"student_number": student["student_number"], "given_name": CANARY})
    there.ask("POST", STUDENTS, f'{{"{CANARY}'.encode())
    there.post("/api/v1/auth/token/", {"email": f"{CANARY}@example.test", "password": CANARY})
    Asker(there.host, token=CANARY).get(STUDENTS)
    Asker(there.host).get(STUDENTS, HTTP_X_REQUEST_ID=f"{CANARY} of mine", HTTP_HOST=there.host)
    for address in addresses():
        if "<id>" in address.path:
            there.ask(address.methods[0], address.at(UUID(int=7)))


def test_the_log_says_nothing_that_people_have_written(twins: Twins, there: Asker, written: io.StringIO) -> None:
    battery(there)
    lines = written.getvalue().splitlines()
    assert len([line for line in lines if '"request"' in line]) > 50
    assert [line for line in lines if sings(line)] == []
    assert [line for line in lines if "@" in line and "example" in line] == []
    structlog.get_logger("naive").info("read", student={"family_name": f"{CANARY}x"})
    assert sings(written.getvalue()), "the control: what is logged is heard"


def test_a_line_carries_the_institution_that_it_was_written_in(
    written: io.StringIO, greenwood: InstitutionContext, lumiere: InstitutionContext, db: None
) -> None:
    for place in (greenwood, lumiere):
        nobody(place).get(STUDENTS)
        with institution(place):
            structlog.get_logger("room").warning("something", about="x")
    found = [orjson.loads(line) for line in written.getvalue().splitlines()]
    assert [line["institution"] for line in found if line["event"] in ("request", "something")] == [
        "greenwood", "greenwood", "lumiere", "lumiere",
    ]  # fmt: skip


def test_a_defect_of_the_database_is_logged_without_the_row_that_it_is_about(
    inside: InstitutionContext, written: io.StringIO
) -> None:
    """PostgreSQL says the values in its DETAIL, and in the message itself where they cannot be read."""
    doubled = "INSERT INTO auth_group (name) VALUES (%s), (%s)"
    senseless = "SELECT %s::text::integer"
    log = structlog.get_logger("lyceum.request")
    for statement, values in ((doubled, [CANARY, CANARY]), (senseless, [CANARY])):
        with pytest.raises(DatabaseError) as refused, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)
        assert sings(str(refused.value)), "the control: the error itself names it"
        log.error("defect", exc_info=refused.value)
        logging.getLogger("of a library").error("failed", exc_info=refused.value)
    assert not sings(written.getvalue())
    assert "IntegrityError" in written.getvalue()
    assert "auth_group_name" in written.getvalue(), "what helps to mend it stays"


def test_figures_name_no_institution_and_nobody(twins: Twins, there: Asker, principal: Watched) -> None:
    battery(there)
    principal.get(STUDENTS)
    figures = generate_latest(REGISTRY).decode()
    assert "django_http_requests_total_by_view_transport_method_total" in figures
    person = cast.of(twins.here).principal
    for secret in (
        CANARY,
        twins.here.slug,
        twins.there.slug,
        twins.here.schema_name,
        str(twins.there.id),
        person.email,
    ):
        assert secret not in figures
    assert str(UUID(int=7)) not in figures, "an id in an address would be a series of its own"


def test_a_figure_by_host_would_be_noticed(there: Asker) -> None:
    """Negative control."""
    registry = CollectorRegistry()
    Counter("requests", "By host.", ["host"], registry=registry).labels(host=there.host).inc()
    assert "lumiere" in generate_latest(registry).decode()


def test_figures_and_vitals_are_on_no_host_of_an_institution(db: None, greenwood: InstitutionContext) -> None:
    for path in ("/metrics", "/metrics/", "/health/metrics", "/api/v1/metrics/", "/server-status", "/debug/vars"):
        assert nobody(greenwood).get(path).status_code == 404


def test_health_names_no_institution(db: None, greenwood: InstitutionContext, written: Any) -> None:
    answer = nobody(greenwood).get("/health/ready")
    assert b"greenwood" not in answer.content
    assert greenwood.schema_name.encode() not in answer.content
