"""Migrations are safe to roll out over a thousand institutions while the release before still serves."""

from typing import Any

import pytest
from django.apps import apps
from django.db import migrations, models
from django.db.migrations.state import ProjectState

from tests.migrations.linting import ACCEPTED, Fault, faults, is_an_institutions, key_cycles, our_migrations

pytestmark = pytest.mark.usefixtures("inside")


@pytest.fixture(scope="module")
def state() -> ProjectState:
    return ProjectState.from_apps(apps)


def broken(state: ProjectState, *operations: Any, label: str = "school", **attributes: Any) -> list[str]:
    """The rules that a migration of these operations breaks."""
    migration = type("Migration", (migrations.Migration,), {"operations": list(operations), **attributes})
    return [fault.rule for fault in faults([(migration("9999_later", label), state)])]


def test_our_migrations_break_no_rule() -> None:
    ours = list(our_migrations())
    assert {migration.app_label for migration, _ in ours} >= {"tenants", "school", "academics", "audit"}
    found: list[Fault] = faults(ours)
    assert found == []


UNSAFE = {
    "adding-required-field": migrations.RunSQL('ALTER TABLE "school_room" ADD COLUMN "floor" integer NOT NULL'),
    "ban-drop-default": migrations.AddField("room", "floor", models.IntegerField(default=0)),
    "adding-field-with-default": migrations.RunSQL(
        'ALTER TABLE "school_room" ADD COLUMN "key" uuid DEFAULT gen_random_uuid() NOT NULL'
    ),
    "adding-not-nullable-field": migrations.RunSQL('ALTER TABLE "school_room" ALTER COLUMN "capacity" SET NOT NULL'),
    "changing-column-type": migrations.AlterField("room", "name", models.CharField(max_length=900)),
    "ban-drop-column": migrations.RemoveField("room", "name"),
    "ban-drop-table": migrations.DeleteModel("Room"),
    "renaming-column": migrations.RenameField("room", "name", "title"),
    "renaming-table": migrations.RenameModel("Room", "Place"),
    "extension": migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS hstore"),
    "deferred-key": migrations.RunSQL(
        'ALTER TABLE "school_room" ADD CONSTRAINT "twice" UNIQUE ("name") DEFERRABLE INITIALLY DEFERRED'
    ),
    "concurrently": migrations.RunSQL('CREATE INDEX CONCURRENTLY "by_name" ON "school_room" ("name")'),
}


@pytest.mark.parametrize(("rule", "operation"), UNSAFE.items(), ids=list(UNSAFE))
def test_what_is_unsafe_is_refused(state: ProjectState, rule: str, operation: Any) -> None:
    assert rule in broken(state, operation)


SAFE = {
    "an empty column": migrations.AddField("room", "floor", models.IntegerField(null=True)),
    "a column that the database fills": migrations.AddField("room", "floor", models.IntegerField(db_default=0)),
    "an index": migrations.AddIndex("room", models.Index(fields=("capacity",), name="school_room_by_capacity")),
    "a table": migrations.CreateModel("Floor", [("id", models.UUIDField(primary_key=True)), ("n", models.IntegerField())]),
}  # fmt: skip


@pytest.mark.parametrize("operation", SAFE.values(), ids=list(SAFE))
def test_what_is_safe_passes(state: ProjectState, operation: Any) -> None:
    assert broken(state, operation) == []


def test_what_is_meant_is_said_with_a_reason(state: ProjectState) -> None:
    drop = migrations.RemoveField("room", "name")
    assert broken(state, drop, **{ACCEPTED: {"ban-drop-column": "not read since release 1.4"}}) == []
    assert broken(state, drop, **{ACCEPTED: {"ban-drop-column": ""}}) == ["ban-drop-column"]
    assert broken(state, drop, **{ACCEPTED: {"ban-drop-table": "another rule"}}) == ["ban-drop-column"]


def test_the_platform_may_have_extensions_and_an_institution_may_not(state: ProjectState) -> None:
    extension = migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS hstore")
    assert broken(state, extension, label="tenants") == []
    assert broken(state, extension) == ["extension"]


def test_no_keys_run_in_a_circle() -> None:
    ours = [model for model in apps.get_models(include_auto_created=True) if is_an_institutions(model._meta.app_label)]
    assert len(ours) > 30
    assert key_cycles(ours) == []


def test_a_circle_is_found(state: ProjectState) -> None:
    key = ("id", models.UUIDField(primary_key=True))

    def to(model: str) -> Any:
        return models.ForeignKey(f"school.{model}", on_delete=models.PROTECT, null=True)

    after = migrations.Migration("9999_later", "school")
    after.operations = [
        migrations.CreateModel("Wing", [key, ("inner", to("Wing"))]),
        migrations.CreateModel("Keeper", [key, ("wing", to("Wing"))]),
    ]
    assert key_cycles(after.mutate_state(state).apps.get_models()) == [], "a table may refer to itself"
    after.operations += [migrations.AddField("Wing", "keeper", to("Keeper"))]
    [cycle] = key_cycles(after.mutate_state(state).apps.get_models())
    assert {"school.Wing", "school.Keeper"} == set(cycle.split(" -> "))
