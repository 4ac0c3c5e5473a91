"""Every change of every table leaves one entry, whoever makes it and however; and nobody can write or change one."""

from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import DatabaseError, ProgrammingError, connection, transaction

from shared_apps.core import actors
from shared_apps.core.actors import Actor, ActorKind, acting
from shared_apps.core.routing import tenant_app_labels
from tenant_apps.accounts.models import User
from tenant_apps.audit import coverage
from tenant_apps.audit.chain import payload_digest
from tenant_apps.audit.models import Entry
from tenant_apps.school.models import Campus, Student
from tests import cast

pytestmark = pytest.mark.usefixtures("inside")
ANA = Actor(ActorKind.PERSON, "ana@greenwood.test", user_id=uuid4(), request_id="req-12345678", address="203.0.113.9")


def entries(record: Any) -> list[Entry]:
    """The entries of a row, oldest first."""
    return list(Entry.objects.filter(table_name=record._meta.db_table, row_key=str(record.pk)).order_by("id"))


def run(statement: str, values: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_no_table_is_neither_watched_nor_exempt() -> None:
    assert {table.name: table.lacking for table in coverage.tables() if table.lacking} == {}
    watched = {table.name for table in coverage.tables()}
    models_of_rooms = [
        m for m in apps.get_models(include_auto_created=True) if m._meta.app_label in tenant_app_labels()
    ]
    assert {m._meta.db_table for m in models_of_rooms} <= watched | set(coverage.EXEMPT)
    assert {m._meta.pk.column for m in models_of_rooms if m._meta.db_table in watched} == {"id"}


def test_a_table_lacks_what_it_has_not_and_what_masks_other_columns() -> None:
    fake = coverage.Table("school_new", ("password",), frozenset())
    assert fake.lacking == list(coverage.EVENTS)
    done = frozenset(f"audit_{event} school_new\\000password\\000" for event in coverage.EVENTS)
    assert coverage.Table("school_new", ("password",), done).lacking == []
    assert coverage.Table("school_new", (), done).lacking == list(coverage.EVENTS)


def test_a_create_a_change_and_a_delete_leave_one_entry_each() -> None:
    with acting(ANA):
        campus = Campus.objects.create(code="N", name="North")
        campus.name = "South"
        campus.save()
        key = campus.pk
        campus.delete()
        campus.pk = key
    made, changed, gone = entries(campus)
    for entry in (made, changed, gone):
        who = (entry.actor_kind, entry.actor_id, entry.actor_name, entry.request_id, entry.address)
        assert who == ("person", ANA.user_id, ANA.name, ANA.request_id, ANA.address)
        assert entry.seq is None
    assert (made.operation, made.before, made.after["name"]) == ("create", None, "North")
    assert changed.operation == "change"
    assert set(changed.before) == set(changed.after) == {"name", "updated_at"}
    assert (changed.before["name"], changed.after["name"]) == ("North", "South")
    assert (gone.operation, gone.after, gone.before["name"]) == ("delete", None, "South")
    assert set(made.after) == set(gone.before) == {field.column for field in Campus._meta.concrete_fields}


def test_raw_sql_and_bulk_writes_are_no_way_round() -> None:
    several = Campus.objects.bulk_create(Campus(code=f"B{n}", name="Bulk") for n in range(3))
    Campus.objects.filter(code__startswith="B").update(name="Changed")
    for campus in several:
        campus.name = "Again"
    Campus.objects.bulk_update(several, ["name"])
    run("UPDATE school_campus SET name = 'Raw' WHERE code = 'B1'")
    run("DELETE FROM school_campus WHERE code = 'B2'")
    assert [len(entries(campus)) for campus in several] == [3, 4, 4]
    assert [entry.operation for entry in entries(several[2])] == ["create", "change", "change", "delete"]
    before = Entry.objects.count()
    Campus.objects.bulk_create(
        [Campus(pk=several[0].pk, code="B0", name="Upserted")],
        update_conflicts=True, unique_fields=["id"], update_fields=["name"],
    )  # fmt: skip
    with connection.cursor() as cursor, cursor.copy("COPY auth_group (name) FROM STDIN") as copy:
        copy.write_row(("copied",))
    assert Entry.objects.count() == before + 2


def test_a_cascade_and_a_table_between_many_leave_theirs() -> None:
    user = User.objects.get(pk=cast.user_id("student"))
    group = Group.objects.create(name="readers")
    user.groups.add(group)
    assert Entry.objects.filter(table_name="accounts_user_groups", operation="create").exists()
    group.delete()
    assert Entry.objects.filter(table_name="accounts_user_groups", operation="delete").exists()


def test_an_update_that_changes_nothing_leaves_none_and_a_changed_key_leaves_two() -> None:
    campus = Campus.objects.create(code="N", name="North")
    run("UPDATE school_campus SET name = name WHERE code = 'N'")
    assert len(entries(campus)) == 1
    run("UPDATE school_campus SET id = %s WHERE code = 'N'", [uuid4()])
    assert [entry.operation for entry in entries(campus)] == ["create", "delete"]


def test_secrets_are_named_and_not_kept() -> None:
    user = User.objects.create_user("new@greenwood.test", "a long enough password")
    user.set_password("another long password")
    user.save()
    made, changed = entries(user)
    assert made.after["password"] == "***"
    assert (changed.before["password"], changed.after["password"]) == ("***", "***")
    for entry in (made, changed):
        assert "argon2" not in f"{entry.before}{entry.after}"
    assert coverage.masked_columns(["password", "key_hash", "token_version", "tokens", "refresh_token", "hashed"]) == (
        "password", "key_hash", "refresh_token",
    )  # fmt: skip


def test_a_write_without_an_actor_is_refused() -> None:
    token = actors._acting.set(None)
    try:
        with pytest.raises(ProgrammingError, match="nobody says who makes it"), transaction.atomic():
            run("SET LOCAL lyceum.actor = ''")
            Campus.objects.create(code="N", name="North")
        assert Campus.objects.count() == 1
    finally:
        actors._acting.reset(token)


def test_the_digest_can_be_recomputed_here_and_by_sql() -> None:
    with acting(ANA):
        Campus.objects.create(code="N", name="Nörd 😀 \" \\ 'x'")
    run("UPDATE school_campus SET name = 'x' WHERE code = 'N'")
    run("DELETE FROM school_campus WHERE code = 'N'")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT salt, actor_name, address, before::text, after::text, digest, sha256(salt || convert_to(actor_name"
            " || chr(31) || address || chr(31) || coalesce(before::text, '') || chr(31) || coalesce(after::text, ''),"
            " 'UTF8')) FROM audit_entry ORDER BY id DESC LIMIT 50"
        )
        rows = cursor.fetchall()
    assert len(rows) > 10
    for salt, name, address, before, after, digest, by_sql in rows:
        assert payload_digest(salt, name, address, before, after) == digest == by_sql


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_entry SELECT * FROM audit_entry",
        "UPDATE audit_entry SET actor_name = 'nobody'",
        "UPDATE audit_entry SET seq = NULL",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        "ALTER TABLE school_campus DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_update ON school_campus",
        "SET LOCAL session_replication_role = 'replica'",
        "ALTER FUNCTION audit_record() RESET search_path",
    ],
)
def test_the_serving_role_can_write_change_and_switch_off_nothing(statement: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        run(statement)


def test_the_serving_role_can_forge_no_entry_by_a_table_of_its_own() -> None:
    run("CREATE TEMPORARY TABLE mine (id uuid)")
    with pytest.raises(ProgrammingError, match="permission denied for function audit_record"), transaction.atomic():
        run(
            "CREATE TRIGGER forge AFTER INSERT ON mine REFERENCING NEW TABLE AS new_rows"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_record('school_student')"
        )


def test_a_temporary_table_of_the_log_s_name_catches_nothing() -> None:
    run("CREATE TEMPORARY TABLE audit_entry (LIKE audit_entry)")
    campus = Campus.objects.create(code="N", name="North")
    run("DROP TABLE pg_temp.audit_entry")
    assert len(entries(campus)) == 1


def test_history_can_be_put_together_from_the_entries() -> None:
    """Changes hold only what differs; forwards from the creation they give the row as it stands."""
    student = Student.objects.get(student_number="S0")
    for name in ("Adele", "Ada", "Adela"):
        student.given_name = name
        student.save()
    state: dict[str, Any] = {}
    for entry in entries(student):
        state |= entry.after
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(s) FROM school_student s WHERE id = %s", [student.pk])
        assert state == cursor.fetchone()[0]


def test_entries_of_one_moment_keep_their_order() -> None:
    campus = Campus.objects.create(code="N", name="0")
    for number in range(1, 40):
        Campus.objects.filter(pk=campus.pk).update(name=str(number))
    assert [entry.after["name"] for entry in entries(campus)] == [str(number) for number in range(40)]
    assert [str(entry.id)[14] for entry in entries(campus)] == ["7"] * 40
