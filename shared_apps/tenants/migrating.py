"""Every institution brought up to this release: who is behind by one query, then the same SQL replayed in each.

Django's executor spends 0.35 s of Python on an institution that lacks nothing and 0.5 s on ten new columns. Here a
migration is turned into its statements once for all institutions that lack the same ones; a migration that cannot be
(it runs Python, or manages its own transaction) goes through Django's executor, institution by institution (ADR 0046).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from django.apps import apps
from django.core.management.sql import emit_post_migrate_signal
from django.db import OperationalError, connection, transaction
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation
from psycopg import sql

from shared_apps.core import bus
from shared_apps.core.actors import acting, platform_work
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.tenants import template
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.models import WITHOUT_SCHEMA, SchemaTemplate, Tenant

Key = tuple[str, str]
"""App label and name of a migration."""
LOCK = 7205  # of advisory locks: one migrator of the institutions at a time
# A statement that waits for a lock makes everybody after it wait: it gives up, and the institution is tried again.
TIMEOUTS = "SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '5min';"
ATTEMPTS = 3
BATCH = 100
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Replay:
    """What brings institutions of one state up to date: the statements of all that they lack, or None when some of it
    needs Django's executor."""

    missing: tuple[Key, ...]
    statements: str | None


@dataclass(slots=True)
class Outcome:
    """What a run did. `failed` holds (slug, error); what failed is as it was before."""

    migrated: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    stopped: bool = False


Tell = Callable[[int, int, float], None]
"""Called after each batch with how many institutions are done, of how many, and the seconds since the start."""


def migrate_institutions(*, parallel: int = 2, canaries: int = 1, tell: Tell | None = None) -> Outcome:
    """Bring every institution that is behind up to date.

    The first `canaries` go alone; when one of them fails, nobody else is touched (`stopped`). Of the others, one that
    fails is recorded (`Tenant.migration_error`) and passed over. A run that is killed is simply begun again. The
    template comes first, so `migrate_platform` must have run.
    """
    outcome, began = Outcome(), time.monotonic()
    with platform(), owner_connection(), _alone():
        aim = SchemaTemplate.objects.exclude(dump="").first()
        if aim is None:
            raise template.TemplateError("There is no template yet; run `manage.py migrate_platform`.")
        applied = _applied(_with_schema())
        behind = _behind(applied, aim.rows)
        replays = {state: _replay(tenants[0]) for state, tenants in _by_state(behind, applied).items()}
        for batch in _batches(behind, canaries):
            todo = [(tenant, replays[applied[tenant]]) for tenant in batch]
            errors = _bring_up(todo, aim, parallel)
            for tenant in batch:
                slug, error = tenant.context.slug, errors.get(tenant.pk)
                outcome.failed.append((slug, error)) if error else outcome.migrated.append(slug)
            done = len(outcome.failed) + len(outcome.migrated)
            if tell is not None:
                tell(done, len(behind), time.monotonic() - began)
            if done == canaries and outcome.failed:
                outcome.stopped = done < len(behind)
                break
    return outcome


def institutions_behind() -> list[Tenant]:
    """Those that lack a migration, or whose permissions and roles are an earlier release's."""
    with platform():
        rows = SchemaTemplate.objects.values_list("rows", flat=True).first()
        return _behind(_applied(_with_schema()), rows or "")


def unlike_the_template() -> list[Tenant]:
    """Institutions whose schema is not made of what this release's template is made of, or is gone."""
    with platform():
        expected = SchemaTemplate.objects.values_list("fingerprint", flat=True).first()
        tenants = _with_schema()
        found = fingerprints([tenant.schema_name for tenant in tenants])
        return [tenant for tenant in tenants if found.get(tenant.schema_name) != expected]


def _with_schema() -> list[Tenant]:
    return list(
        Tenant.objects.exclude(state__in=WITHOUT_SCHEMA).prefetch_related("domains").order_by("created_at", "id")
    )


def _behind(applied: dict[Tenant, frozenset[Key]], rows: str) -> list[Tenant]:
    newest = set(MigrationLoader(None).graph.leaf_nodes())
    return [tenant for tenant, done in applied.items() if not newest <= done or tenant.template_rows != rows]


def _batches(tenants: list[Tenant], canaries: int) -> Iterator[list[Tenant]]:
    if canaries and tenants:
        yield tenants[:canaries]
    for start in range(canaries, len(tenants), BATCH):
        yield tenants[start : start + BATCH]


def _applied(tenants: list[Tenant]) -> dict[Tenant, frozenset[Key]]:
    """What each institution has applied: one query over all their tables."""
    found: dict[str, set[Key]] = {tenant.schema_name: set() for tenant in tenants}
    one = "SELECT {}, app, name FROM {}.django_migrations"
    with connection.cursor() as cursor:
        # One institution whose schema is damaged must not hide the others.
        whole_ones = (
            "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name || '.django_migrations') IS NOT NULL"
        )
        cursor.execute(whole_ones, [list(found)])
        whole = [name for (name,) in cursor.fetchall()]
        every = [sql.SQL(one).format(sql.Literal(schema), sql.Identifier(schema)) for schema in whole]
        if every:
            cursor.execute(sql.SQL(" UNION ALL ").join(every).as_string(connection.connection))
            for schema, app, name in cursor.fetchall():
                found[schema].add((app, name))
    return {tenant: frozenset(found[tenant.schema_name]) for tenant in tenants}


def _by_state(behind: Iterable[Tenant], applied: dict[Tenant, frozenset[Key]]) -> dict[frozenset[Key], list[Tenant]]:
    states: dict[frozenset[Key], list[Tenant]] = defaultdict(list)
    for tenant in behind:
        states[applied[tenant]].append(tenant)
    return states


def _replay(tenant: Tenant) -> Replay:
    """The statements that this institution, and every other that has applied the same, lacks."""
    with institution(tenant.context):
        executor = MigrationExecutor(connection)
        plan = [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
        missing = tuple((migration.app_label, migration.name) for migration in plan)
        if not all(map(_is_sql, plan)):
            return Replay(missing, None)
        state = executor._create_project_state(with_applied_migrations=True)
        statements: list[str] = []
        for migration in plan:
            with connection.schema_editor(collect_sql=True, atomic=True) as editor:
                state = migration.apply(state, editor, collect_sql=True)
            statements += [line for line in editor.collected_sql if not line.startswith("--")]
    return Replay(missing, "\n".join(statements))


def _is_sql(migration: Migration) -> bool:
    return bool(migration.atomic) and not migration.replaces and all(map(_is_plain, migration.operations))


def _is_plain(operation: Operation) -> bool:
    if isinstance(operation, SeparateDatabaseAndState):
        return all(map(_is_plain, operation.database_operations))
    return bool(operation.reduces_to_sql)


def _bring_up(todo: list[tuple[Tenant, Replay]], aim: SchemaTemplate, parallel: int) -> dict[UUID, str]:
    """Apply what a batch of institutions lacks, then compare them with the template, a query for each thread. The
    errors, by institution."""

    def share(number: int) -> dict[UUID, str]:
        """Every parallel-th institution, on one owner's connection."""
        with platform(), owner_connection():
            mine = todo[number::parallel]
            done = {t.pk: _attempt(t, replay, with_rows=t.template_rows != aim.rows) for t, replay in mine}
            whole = [tenant for tenant, _ in mine if not done[tenant.pk]]
            # A new table gets its triggers with the rows that follow migrations.
            unlike = _unlike(whole, aim)
            done |= {tenant.pk: _attempt(tenant, Replay((), ""), with_rows=True) for tenant in unlike}
            return done | {t.pk: UNLIKE for t in _unlike(unlike, aim) if not done[t.pk]}

    with ThreadPoolExecutor(parallel, thread_name_prefix="lyceum-migrate") as pool:
        errors = {key: error for done in pool.map(share, range(parallel)) for key, error in done.items() if error}
    good = [tenant.pk for tenant, _ in todo if tenant.pk not in errors]
    Tenant.objects.filter(pk__in=good).update(template_rows=aim.rows, migration_error="")
    for key, error in errors.items():
        Tenant.objects.filter(pk=key).update(migration_error=error[:2000])
    bus.tell("tenants", "")
    return errors


UNLIKE = "Migrated, but the schema differs from the template: something in it was made or changed by hand."


def _unlike(tenants: list[Tenant], aim: SchemaTemplate) -> list[Tenant]:
    found = fingerprints([tenant.schema_name for tenant in tenants]) if tenants else {}
    return [tenant for tenant in tenants if found.get(tenant.schema_name) != aim.fingerprint]


def _attempt(tenant: Tenant, replay: Replay, *, with_rows: bool) -> str:
    """Apply what one institution lacks. The error, empty when it went well; then nothing of it was kept."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if replay.statements is None:
                template.migrate_schema(tenant.context)
            else:
                _apply(tenant.context, replay, with_rows=with_rows)
            return ""
        except Exception as refused:  # noqa: BLE001 - one institution's trouble is recorded, and not the others'
            error = str(refused).strip() or type(refused).__name__
            log.warning("migration_failed", institution=tenant.context.slug, attempt=attempt, error=error)
            if not isinstance(refused, OperationalError):  # a lock that was not given may be given the next time
                break
    return error


def _apply(context: InstitutionContext, replay: Replay, *, with_rows: bool) -> None:
    """The statements, their records and, where asked, the rows that follow migrations: one transaction."""
    records = sql.SQL(", ").join(
        sql.SQL("({}, {}, now())").format(sql.Literal(app), sql.Literal(name)) for app, name in replay.missing
    )
    by = acting(platform_work("migration"))
    with institution(context), by, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(TIMEOUTS)
        if replay.missing:
            insert = sql.SQL("INSERT INTO django_migrations (app, name, applied) VALUES {}").format(records)
            cursor.execute(f"{replay.statements}\n{insert.as_string(connection.connection)}")
        if with_rows:
            emit_post_migrate_signal(verbosity=0, interactive=False, db="default", apps=apps, plan=[])


@contextmanager
def _alone() -> Iterator[None]:
    """One run at a time: a second one waits, and then finds nothing to do."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
