"""Institutions come to life, are suspended, and are reached by their host alone."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import Client

from shared_apps.core.context import InstitutionContext, State, current_institution, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.core.registry import NewInstitution, registry
from shared_apps.tenants import hosts, migrating, services
from shared_apps.tenants.models import Domain, Tenant
from shared_apps.tenants.signing_up.asking import finish_making
from tenant_apps.accounts.models import User


def get(path: str, host: str, **headers: Any) -> Any:
    return Client(raise_request_exception=False).get(path, HTTP_HOST=host, **headers)


def test_a_new_institution_has_its_own_tables_and_its_first_administrator(transactional_db: None) -> None:
    new = NewInstitution("Rheintal", "rheintal", admin_email="Head@Rheintal.test", language="de", currency="EUR")
    tenant = services.create_institution(new=new)
    assert tenant.state == State.ACTIVE
    assert tenant.host == "rheintal.localhost"
    with institution(tenant.context):
        assert User.objects.get().email == "head@rheintal.test"
    assert get("/", "rheintal.localhost").status_code == 200


def test_of_two_that_ask_for_one_slug_at_once_one_wins(transactional_db: None) -> None:
    def make(name: str) -> Any:
        try:
            with platform():
                return services.create_institution(new=NewInstitution(name, "twin"))
        except Conflict as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(make, ["One", "Two"]))
    assert [m for m in made if m == "slug_taken"] == ["slug_taken"]
    with platform():
        assert Domain.objects.filter(slug="twin").count() == 1


def test_a_creation_that_fails_half_way_serves_nobody_and_is_finished_by_the_next(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(new: NewInstitution) -> None:
        raise RuntimeError("killed here")

    monkeypatch.setattr(registry, "provisioning_steps", [*registry.provisioning_steps, ("test", fail)])
    with pytest.raises(RuntimeError):
        services.create_institution(new=NewInstitution("Half", "half", admin_email="head@half.test"))
    assert get("/", "half.localhost").status_code == 503
    monkeypatch.undo()
    tenant = services.create_institution(new=NewInstitution("Half", "half", admin_email="head@half.test"))
    with institution(tenant.context):
        assert User.objects.count() == 1
    assert get("/", "half.localhost").status_code == 200


def test_what_a_room_refuses_leaves_no_row_and_holds_no_slug(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finishing it would be refused each time. Negative control above: what fails is finished, and keeps its row."""

    def refuse(new: NewInstitution) -> None:
        raise ValidationError({"email": "Nobody can be called that."})

    with monkeypatch.context() as patched:
        patched.setattr(registry, "provisioning_steps", [*registry.provisioning_steps, ("test", refuse)])
        with pytest.raises(ValidationError):
            services.create_institution(new=NewInstitution("Refused", "refused"))
    with platform():
        assert not Tenant.objects.filter(name="Refused").exists()
    assert services.create_institution(new=NewInstitution("Other", "refused")).state == State.ACTIVE


def test_of_two_that_want_what_is_refused_the_second_is_told_so(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has found the row of the first, and waits for its lock when the row is taken back."""
    second: list[Any] = []

    def ask_again() -> str:
        try:
            return str(services.create_institution(new=NewInstitution("Second", "refused")).state)
        except Conflict as refusal:
            return refusal.code
        finally:
            connections.close_all()

    def refuse(new: NewInstitution) -> None:
        if second:
            return
        second.append(pool.submit(ask_again))
        with connection.cursor() as cursor:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                if cursor.fetchone()[0]:
                    break
        raise Invalid("no")

    monkeypatch.setattr(registry, "provisioning_steps", [*registry.provisioning_steps, ("test", refuse)])
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(Invalid):
            services.create_institution(new=NewInstitution("First", "refused"))
        assert second[0].result() == "given_up"


def test_an_address_that_no_letter_can_have_is_refused_before_anything_is_made(transactional_db: None) -> None:
    with platform():
        before = Tenant.objects.count()
        with pytest.raises(Invalid) as refusal:
            services.create_institution(new=NewInstitution("Long", "long", admin_email="a" * 248 + "@b.test"))
        assert refusal.value.errors[0]["pointer"] == "/admin_email"
        assert Tenant.objects.count() == before


def test_what_an_older_release_left_half_made_is_made_from_nothing(transactional_db: None) -> None:
    """A release that made the schema before its transaction could leave one; and the new words are everybody's."""
    with platform():
        half = Tenant(name="Half", ordered=asdict(NewInstitution("Half", "half")))
        half.save(force_insert=True)
        Domain(tenant=half, slug="half", looks="half", domain="half.localhost").save(force_insert=True)
        with owner_connection(), connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {half.schema_name}")
    made = services.create_institution(new=NewInstitution("Whole", "half"))
    assert (made.pk, made.name, made.step, made.state) == (half.pk, "Whole", "", State.ACTIVE)
    with institution(made.context):
        assert not User.objects.exists()


def test_who_has_waited_for_another_maker_does_not_keep_the_name_from_before(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two found the same row; the first has written the new order before it died, and the second read it before."""
    new = NewInstitution("New name", "half")
    with platform():
        half = Tenant(name="New name", ordered=asdict(new), step=services.FIRST_STEP)
        half.save(force_insert=True)
        Domain(tenant=half, slug="half", looks="half", domain="half.localhost").save(force_insert=True)
        read_before = Tenant.objects.prefetch_related("domains").get(pk=half.pk)
        read_before.name = "Old name"
    monkeypatch.setattr(services, "_claim", lambda new: (read_before, False))
    seen: list[str] = []
    look = [*registry.provisioning_steps, ("test", lambda new: seen.append(current_institution().name))]
    monkeypatch.setattr(registry, "provisioning_steps", look)
    assert services.create_institution(new=new).name == "New name"
    assert seen == ["New name"]


def test_what_cannot_be_finished_as_it_was_ordered_says_how_it_can(transactional_db: None) -> None:
    with platform():
        half = Tenant(name="Half", ordered=asdict(NewInstitution("Half", "half", admin_email="no address")))
        half.save(force_insert=True)
        Domain(tenant=half, slug="half", looks="half", domain="half.localhost").save(force_insert=True)
        with pytest.raises(Conflict, match="Order it anew"):
            finish_making(tenant=half)
    assert services.create_institution(new=NewInstitution("Half", "half")).pk == half.pk


@pytest.mark.parametrize(
    "slug", ["", "a", "-a", "a-", "a_b", "a.b", "UP PER", "www", "console", "xn--bcher-kva", "é", "a" * 64, "a\x00b"]
)
def test_a_slug_that_cannot_be_a_host_or_is_reserved_is_refused(db: None, slug: str) -> None:
    with platform(), pytest.raises(Invalid) as refusal:
        services.create_institution(new=NewInstitution("Name", slug))
    assert refusal.value.errors[0]["pointer"] == "/slug"


@pytest.mark.parametrize("host", ["GREENWOOD.localhost", "greenwood.localhost:8000", "greenwood.localhost."])
def test_case_port_and_final_dot_do_not_matter(db: None, greenwood: InstitutionContext, host: str) -> None:
    assert b"Greenwood High" in get("/", host).content


@pytest.mark.parametrize(
    "host", ["nowhere.localhost", "greenwood.localhost.evil.test", "xgreenwood.localhost", "greenwood.example.com"]
)
def test_an_unknown_host_is_404_and_touches_no_institution(
    db: None, host: str, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    entered: list[Any] = []
    monkeypatch.setattr("shared_apps.tenants.middleware.institution", lambda context: entered.append(context))
    hosts.forget()
    response = get("/", host)
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "unknown_host"
    assert not entered
    with django_assert_num_queries(0):
        get("/", host)


@pytest.mark.parametrize("host", ["green wood.localhost", "a@b", "greenwood.localhost:port", "", "[::1", "é.localhost"])
def test_a_host_header_that_is_none_is_refused(db: None, host: str) -> None:
    assert get("/", host).status_code in (400, 404)


def test_a_forwarded_host_is_never_believed(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    page = get("/", "lumiere.localhost", HTTP_X_FORWARDED_HOST="greenwood.localhost").content.decode()
    assert "Greenwood" not in page


def test_suspension_and_return_are_seen_by_the_next_request(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    assert get("/", "greenwood.localhost").status_code == 200
    call_in_platform("tenant", "suspend", "greenwood", "--reason", "unpaid")
    refused = get("/", "greenwood.localhost")
    assert (refused.status_code, refused.json()["code"]) == (403, "suspended")
    assert get("/", "lumiere.localhost").status_code == 200
    call_in_platform("tenant", "resume", "greenwood")
    assert get("/", "greenwood.localhost").status_code == 200


def test_another_process_learns_of_a_suspension_over_redis(
    transactional_db: None, greenwood: InstitutionContext, deaf: None
) -> None:
    """Negative control inside: without the message the remembered answer would live on."""
    with platform():
        hosts.find("greenwood.localhost")
        Tenant.objects.filter(pk=greenwood.id).update(state=State.SUSPENDED)
    found = hosts.find("greenwood.localhost")
    assert found is not None
    assert found.state == State.ACTIVE
    hosts.forget()  # what the bus does in every process
    found = hosts.find("greenwood.localhost")
    assert found is not None
    assert found.state == State.SUSPENDED


def test_a_read_only_institution_answers_reads_and_refuses_writes(
    transactional_db: None, greenwood: InstitutionContext
) -> None:
    call_in_platform("tenant", "suspend", "greenwood", "--reason", "unpaid", "--read-only")
    assert get("/", "greenwood.localhost").status_code == 200
    refused = Client().post("/api/v1/school/students/", {}, "application/json", HTTP_HOST="greenwood.localhost")
    assert (refused.status_code, refused.json()["code"]) == (403, "read_only")


@pytest.mark.parametrize("state", [State.ARCHIVED, State.DELETING, State.DELETED])
def test_an_archived_institution_is_gone(db: None, greenwood: InstitutionContext, state: State) -> None:
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(state=state)
    hosts.forget()
    assert get("/", "greenwood.localhost").status_code == 410


def call_in_platform(*command: str) -> str:
    out = StringIO()
    with platform():
        call_command(*command, stdout=out)
    return out.getvalue()


def test_the_command_lists_and_shows_institutions(db: None, greenwood: InstitutionContext) -> None:
    assert "greenwood.localhost" in call_in_platform("tenant", "list")
    assert str(greenwood.id) in call_in_platform("tenant", "show", "greenwood")
    with pytest.raises(CommandError, match="There is no institution"):
        call_in_platform("tenant", "show", "nowhere")


@pytest.mark.parametrize(
    "wrong",
    [["--currency", "ZZZ"], ["--time-zone", "Mars/Olympus"], ["--admin-email", "nobody"], ["--language", "xx"]],
)
def test_the_command_refuses_bad_values_in_one_line_and_makes_nothing(db: None, wrong: list[str]) -> None:
    with pytest.raises(CommandError):
        call_in_platform("tenant", "create", "rheintal", "Rheintal", *wrong)
    assert "rheintal" not in call_in_platform("tenant", "list")


def test_there_is_one_tenant_of_operators(db: None, console: InstitutionContext) -> None:
    with pytest.raises(CommandError, match=r"already, at console\.localhost"):
        call_in_platform("tenant", "create", "console2", "Other operators", "--operators")
    with pytest.raises(CommandError, match="taken"):
        call_in_platform("tenant", "create", "greenwood", "Negative control")


def test_nothing_is_behind_after_a_migration(db: None) -> None:
    assert migrating.institutions_behind() == []
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT schema_name FROM tenants_tenant WHERE name = 'Greenwood High'")
        schema = cursor.fetchone()[0]
        cursor.execute(f"DELETE FROM {schema}.django_migrations WHERE app = 'school'")
    assert [tenant.name for tenant in migrating.institutions_behind()] == ["Greenwood High"]


def test_the_operators_tenant_cannot_be_suspended(db: None, console: InstitutionContext) -> None:
    with pytest.raises(CommandError, match="operators"):
        call_in_platform("tenant", "suspend", "console", "--reason", "x")


def test_no_table_of_an_institution_stands_in_public_and_extensions_stand_only_there(db: None) -> None:
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = {row[0] for row in cursor.fetchall()}
        assert not [name for name in tables if name.startswith(("accounts_", "auth_", "guardian_", "school_"))]
        cursor.execute("SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace")
        assert {row[0] for row in cursor.fetchall()} <= {"public", "pg_catalog"}


def test_health_answers_on_any_host_before_the_host_is_looked_up(db: None) -> None:
    for host in ("nowhere.test", "greenwood.localhost", "!!"):
        assert get("/health/live", host).status_code == 200
        ready = get("/health/ready", host)
        assert (ready.status_code, ready.json()["parts"]["database"]) == (200, "ok")
