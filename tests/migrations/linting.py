"""What is wrong with a migration, judged by its SQL: by squawk, and by what one schema for each institution asks for.

A release is rolled out while the one before still serves: both must live with the tables. squawk's rules about scans and
locks that grow with a table are left out where an institution's tables are small enough (ADR 0058).
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.db import connection, models
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState

ACCEPTED = "accepted"  # attribute of a migration: {rule: why}
RULES = {
    "adding-required-field": "the release before does not fill the column: give it a db_default, or let it be null.",
    "ban-drop-default": "the release before does not fill the column: give it a db_default beside the default.",
    "adding-field-with-default": "the table is written anew under a lock: add the column empty, fill it, then constrain.",
    "adding-not-nullable-field": "rows may have none, and are scanned under a lock: add a CHECK that is not valid first.",
    "changing-column-type": "the table is written anew under a lock: add another column, fill it, then drop this one.",
    "ban-drop-column": "the release before still reads the column: drop it a release later, and say so in `accepted`.",
    "ban-drop-table": "the release before still reads the table: drop it a release later, and say so in `accepted`.",
    "renaming-column": "the release before knows the old name: keep it by db_column.",
    "renaming-table": "the release before knows the old name: keep it by db_table.",
    "ban-truncate-cascade": "it empties tables that it does not name.",
    "ban-create-domain-with-constraint": "a domain's check cannot be changed without looking at every row.",
    "ban-concurrent-index-creation-in-transaction": "an institution's migration is one transaction.",
}
OURS = {
    "extension": (
        re.compile(r"\bCREATE\s+EXTENSION\b", re.I),
        "extensions stand in public: dropping an institution would take another's columns along (TRAPS).",
    ),
    "deferred-key": (
        re.compile(r"\bINITIALLY\s+DEFERRED\b", re.I),
        "a distributed database checks keys at once, and so do we (SCALE 3).",
    ),
    "concurrently": (
        re.compile(r"\bCONCURRENTLY\b", re.I),
        "an institution's migration is one transaction, replayed for many.",
    ),
}


class Fault(NamedTuple):
    """A rule that a migration breaks."""

    migration: str
    rule: str
    why: str


def our_migrations() -> Iterator[tuple[Migration, ProjectState]]:
    """Every migration of ours, with the state before it."""
    executor = MigrationExecutor(connection)
    state = executor._create_project_state()
    for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True):
        if is_ours(migration.app_label):
            yield migration, state
        state = migration.mutate_state(state, preserve=True)


def is_ours(label: str) -> bool:
    return apps.get_app_config(label).name.startswith(("shared_apps.", "tenant_apps."))


def is_an_institutions(label: str) -> bool:
    return apps.get_app_config(label).name in settings.TENANT_APPS


def sql_of(migration: Migration, before: ProjectState) -> str:
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        migration.apply(before.clone(), editor, collect_sql=True)
    return "\n".join(editor.collected_sql)


def faults(migrations: Iterable[tuple[Migration, ProjectState]]) -> list[Fault]:
    """The rules that the migrations break, save what they say they do on purpose."""
    found: list[Fault] = []
    for migration, before in migrations:
        sql = sql_of(migration, before)
        broken = [(rule, RULES[rule]) for rule in squawked(sql)]
        if is_an_institutions(migration.app_label):
            broken += [(rule, why) for rule, (sign, why) in OURS.items() if sign.search(sql)]
        accepted: dict[str, str] = getattr(migration, ACCEPTED, {})
        found += [Fault(str(migration), rule, why) for rule, why in broken if not accepted.get(rule)]
    return found


def squawked(sql: str) -> list[str]:
    """The names of squawk's rules, out of `RULES`, that the statements break. Raises CalledProcessError."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("squawk")), "--reporter=json", "--pg-version=18"],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return sorted({each["rule_name"] for each in json.loads(done.stdout or "[]")} & RULES.keys())


def key_cycles(chosen: Iterable[type[models.Model]]) -> list[str]:
    """Circles of foreign keys through several tables: rows of such can be neither copied nor dropped in any order."""
    refers = {
        model: {
            field.related_model
            for field in model._meta.concrete_fields
            if field.is_relation and field.related_model is not model
        }
        for model in chosen
    }
    cycles: list[str] = []
    done: set[Any] = set()

    def walk(model: Any, path: list[Any]) -> None:
        if model in path:
            cycle = path[path.index(model) :]
            cycles.append(" -> ".join(each._meta.label for each in (*cycle, model)))
            return
        if model in done or model not in refers:
            return
        for target in refers[model]:
            walk(target, [*path, model])
        done.add(model)

    for model in refers:
        walk(model, [])
    return cycles
