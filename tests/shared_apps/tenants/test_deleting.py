"""An institution is deleted by two operators, after a while, whole, and nobody else notices."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, State, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Problem
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants import deleting, schemas, template
from shared_apps.tenants.addresses import change_slug
from shared_apps.tenants.backups import archive, back_up, restore
from shared_apps.tenants.backups.making import back_up_alone
from shared_apps.tenants.checking import findings
from shared_apps.tenants.deleting import cancel_deletion, complete_due, confirm_deletion, request_deletion
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.models import Backup, Deletion, Domain, KeptSchema, Tenant
from shared_apps.tenants.services import create_institution
from tests.api import Asker
from tests.shared_apps.tenants.archives import path_of
from tests.shared_apps.tenants.conftest import Operator


@pytest.fixture
def tenant(db: None, greenwood: InstitutionContext) -> Iterator[Tenant]:
    with platform(), acting(command("test")):
        found = Tenant.objects.get(pk=greenwood.id)
        yield change_state(tenant=found, to=State.ARCHIVED, reason="closed")


def code_of(work: Callable[[], Any]) -> str:
    with pytest.raises(Problem) as refused:
        work()
    return refused.value.code


def test_who_asks_cannot_confirm_and_another_can(tenant: Tenant, anna: Operator, bert: Operator) -> None:
    with anna():
        request_deletion(tenant=tenant, reason="contract ended")
        assert code_of(lambda: confirm_deletion(tenant=tenant)) == "same_operator"
        assert code_of(lambda: request_deletion(tenant=tenant, reason="again")) == "deletion_open"
    with bert():
        asked = confirm_deletion(tenant=tenant)
        assert code_of(lambda: confirm_deletion(tenant=tenant)) == "deletion_confirmed"
    assert asked.confirmed_at is not None
    assert asked.due_at == asked.confirmed_at + deleting.GRACE
    done = [(row.verb, row.actor_name) for row in tenant.transitions.all()[:2]]
    assert done == [("confirm_deletion", "bert@lyceum.test"), ("request_deletion", "anna@lyceum.test")]


def test_the_database_itself_refuses_one_person_for_both(tenant: Tenant, anna: Operator) -> None:
    """Whatever the code forgets."""
    with anna():
        asked = request_deletion(tenant=tenant, reason="x")
    with pytest.raises(IntegrityError, match="two_operators"), transaction.atomic():
        Deletion.objects.filter(pk=asked.pk).update(confirmed_by=asked.requested_by)


def test_only_an_operator_in_person_and_only_what_is_archived(tenant: Tenant, anna: Operator) -> None:
    assert code_of(lambda: request_deletion(tenant=tenant, reason="x")) == "no_operator"
    with anna():
        assert code_of(lambda: confirm_deletion(tenant=tenant)) == "no_deletion"
        assert code_of(lambda: cancel_deletion(tenant=tenant)) == "no_deletion"
        change_state(tenant=tenant, to=State.ACTIVE, reason="")
        assert code_of(lambda: request_deletion(tenant=tenant, reason="x")) == "not_archived"


def test_one_whose_deletion_is_asked_for_comes_back_only_after_it_is_cancelled(
    tenant: Tenant, anna: Operator, bert: Operator
) -> None:
    with anna():
        request_deletion(tenant=tenant, reason="x")
    with bert():
        confirm_deletion(tenant=tenant)
        assert code_of(lambda: change_state(tenant=tenant, to=State.ACTIVE, reason="")) == "deletion_open"
        cancel_deletion(tenant=tenant, reason="they have paid")
    assert change_state(tenant=tenant, to=State.ACTIVE, reason="").state == State.ACTIVE
    change_state(tenant=tenant, to=State.ARCHIVED, reason="")
    with anna():
        assert request_deletion(tenant=tenant, reason="again").confirmed_at is None, "a cancelled one counts no more"


@pytest.fixture
def school(places: Path) -> Iterator[Tenant]:
    """An institution that is archived, with a file, a put-aside schema and two backups."""
    with platform():
        made = create_institution(new=NewInstitution("Rheintal", "rheintal"))
        restore(tenant=made, source=path_of(back_up(tenant=made)))
        back_up(tenant=Tenant.objects.get(pk=made.pk))
        kept = places / "media" / str(made.pk) / "files" / "a.pdf"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"%PDF")
        yield change_state(tenant=made, to=State.ARCHIVED, reason="closed")


def due(tenant: Tenant, anna: Operator, bert: Operator) -> Deletion:
    with anna():
        request_deletion(tenant=tenant, reason="contract ended")
    with bert():
        asked = confirm_deletion(tenant=tenant)
    Deletion.objects.filter(pk=asked.pk).update(due_at=datetime.now(UTC) - timedelta(seconds=1))
    return asked


def schemas_there() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\\_%'")
        return {name for (name,) in cursor.fetchall()}


def test_nothing_happens_within_the_grace_period_or_unconfirmed(school: Tenant, anna: Operator, bert: Operator) -> None:
    with anna():
        request_deletion(tenant=school, reason="x")
    Deletion.objects.update(created_at=datetime.now(UTC) - timedelta(days=400))
    assert complete_due() == []
    with bert():
        confirm_deletion(tenant=school)
    assert complete_due() == []
    assert school.schema_name in schemas_there()
    Deletion.objects.update(due_at=datetime.now(UTC))
    assert [tenant.pk for tenant in complete_due()] == [school.pk], "negative control: then it does"


def test_a_deletion_leaves_its_final_backup_its_history_and_nothing_else(
    school: Tenant, places: Path, anna: Operator, bert: Operator
) -> None:
    before, others = schemas_there(), set(Tenant.objects.exclude(pk=school.pk).values_list("schema_name", flat=True))
    asked = due(school, anna, bert)
    complete_due()
    assert before - schemas_there() == before - others, "its own schema and the one put aside are gone, no other"
    assert not (places / "media" / str(school.pk)).exists()
    asked.refresh_from_db()
    kept = Backup.objects.get(tenant=school)
    assert asked.final_backup == kept
    with archive.opened(path_of(kept)) as opened:
        assert (opened.files / "files" / "a.pdf").read_bytes() == b"%PDF"
        assert opened.manifest.tables["accounts_role"] > 0
    assert not Domain.objects.filter(tenant=school).exists()
    assert not KeptSchema.objects.filter(tenant=school).exists()
    school.refresh_from_db()
    assert school.state == State.DELETED
    assert [row.verb for row in school.transitions.all()[:2]] == ["delete", "begin_deletion"]
    assert Asker("rheintal.localhost").get("/").status_code == 404
    assert code_of(lambda: create_institution(new=NewInstitution("Heir", "rheintal"))) == "host_cools_down"
    assert findings() == []
    final = path_of(kept)
    for verb in (lambda: change_slug(tenant=school, slug="again"), lambda: restore(tenant=school, source=final)):
        assert code_of(verb) == "bad_transition"
    Deletion.objects.update(finished_at=datetime.now(UTC) - deleting.FINAL_BACKUP_KEPT - timedelta(hours=1))
    complete_due()
    assert not final.exists()


def test_files_that_cannot_be_removed_hold_the_deletion_back(
    school: Tenant, places: Path, anna: Operator, bert: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    due(school, anna, bert)

    def refuse(place: Path) -> None:
        raise PermissionError(place)

    monkeypatch.setattr(deleting.shutil, "rmtree", refuse)
    assert complete_due() == []
    assert (places / "media" / str(school.pk)).exists()
    monkeypatch.undo()
    assert [tenant.pk for tenant in complete_due()] == [school.pk]
    assert not (places / "media" / str(school.pk)).exists()


@pytest.mark.parametrize("point", ["back_up_alone", "drop_schema", "release", "move"])
def test_a_deletion_that_dies_anywhere_is_completed_by_the_next_run(
    school: Tenant, anna: Operator, bert: Operator, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    due(school, anna, bert)

    def die(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deleting, point, die)
    with pytest.raises(KeyboardInterrupt):
        complete_due()
    school.refresh_from_db()
    half = school.state == State.DELETING
    assert half == (point in ("drop_schema", "release"))
    assert [found.mend for found in findings()] == (["manage.py tenant finish-deletions"] if half else [])
    monkeypatch.undo()
    assert [tenant.pk for tenant in complete_due()] == [school.pk]
    assert Backup.objects.filter(tenant=school).count() == 1
    assert findings() == []
    assert complete_due() == []


def test_who_cancels_while_the_backup_is_written_is_heard(
    school: Tenant, anna: Operator, bert: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    due(school, anna, bert)

    def slow(*, tenant: Tenant) -> Backup:
        with bert():
            cancel_deletion(tenant=tenant)
        return back_up_alone(tenant=tenant)

    monkeypatch.setattr(deleting, "back_up_alone", slow)
    assert complete_due() == []
    assert school.schema_name in schemas_there()
    assert change_state(tenant=school, to=State.ACTIVE, reason="").state == State.ACTIVE


def test_the_trouble_of_one_deletion_stops_no_other(
    school: Tenant, anna: Operator, bert: Operator, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = change_state(tenant=Tenant.objects.get(pk=greenwood.id), to=State.ARCHIVED, reason="")
    due(other, anna, bert)
    due(school, anna, bert)

    def refuse(*, tenant: Tenant) -> Backup:
        if tenant.pk == other.pk:
            raise OSError("the disk is full")
        return back_up_alone(tenant=tenant)

    monkeypatch.setattr(deleting, "back_up_alone", refuse)
    assert [tenant.pk for tenant in complete_due()] == [school.pk]
    assert other.schema_name in schemas_there(), "without a final backup nothing is dropped"
    assert findings() == []
    Deletion.objects.filter(tenant=other).update(due_at=datetime.now(UTC) - timedelta(days=2))
    assert [(found.where, found.what) for found in findings()] == [("greenwood", "its deletion is overdue")]


def test_a_schema_is_dropped_with_a_bounded_number_of_locks(transactional_db: None) -> None:
    """Negative control: dropped at once it takes a lock for each of its tables, indexes and sequences."""
    counts: list[int] = []

    def locks() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()")
            return int(cursor.fetchone()[0])

    def counted(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if str(sql).startswith("DROP "):
            counts.append(locks())
        return result

    with platform(), owner_connection():
        with transaction.atomic():
            template.replay("t_dropped")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA t_dropped CASCADE")
            at_once = locks()
            transaction.set_rollback(True)
        with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(counted):
            patch.setattr(schemas, "TABLES_AT_ONCE", 5)
            schemas.drop_schema("t_dropped")
        assert "t_dropped" not in schemas_there()
    assert len(counts) > 5
    assert max(counts) < at_once / 2
