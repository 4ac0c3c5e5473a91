"""New institutions are replayed from the dump of a template schema, not migrated from nothing.

Django's migrations cost seconds of Python for one schema; replaying what they end in costs a fraction (ADR 0045). The
template is a schema like an institution's, under a name that stands nowhere else, so that the dump becomes an
institution's by replacing that name. It carries the rows that migrations leave (permissions, system roles, migration
records), and no person.
"""

import hashlib
import secrets
import tempfile
from pathlib import Path

from django.core.management import call_command
from django.core.management.commands.migrate import Command as Migrate
from django.db import connection, transaction

from shared_apps.core.actors import acting, platform_work
from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.roles import grant_serving_role
from shared_apps.tenants import dumps
from shared_apps.tenants.arranging import arranged
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.models import SchemaTemplate
from shared_apps.tenants.schemas import schema_stands
from shared_apps.tenants.snapshots import structure_of

LOCK = 7204  # of advisory locks: one builder of the template at a time


class TemplateError(RuntimeError):
    """The template cannot be built, or what was replayed from it is not equal to it."""


def refresh_template() -> bool:
    """Bring the template up to this release and store its dump anew if anything changed. Says whether it did.

    Runs on the owner's connection, on the platform. A kill on the way leaves the old dump, and the next call begins
    where the schema stands.
    """
    with connection.cursor() as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            template = SchemaTemplate.objects.first() or SchemaTemplate.objects.create(
                schema_name=f"template_{secrets.token_hex(6)}"
            )
            make_empty_schema(template.schema_name)
            migrate_schema(
                InstitutionContext(id=template.pk, schema_name=template.schema_name, slug="template", name="Template")
            )
            raw = _dump(template.schema_name)
            dump = _to_replay(raw)
            (fingerprint,) = fingerprints([template.schema_name]).values()
            # Another release of PostgreSQL may describe the same tables in other words.
            if (template.dump, template.fingerprint) == (dump, fingerprint):
                return False
            template.dump, template.rows, template.structure = dump, _rows(dump), structure_of(raw)
            template.fingerprint = fingerprint
            template.save(update_fields=["dump", "rows", "structure", "fingerprint", "updated_at"])
            return True
        finally:
            lock.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def replay_itself() -> None:
    """Make the template's own schema from its dump, where it is not there. Runs on the owner's connection.

    Migrated anew, it would be another template: its roles would have other ids."""
    template = SchemaTemplate.objects.exclude(dump="").first()
    if template is not None and not schema_stands(template.schema_name):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(template.dump)


def replay(schema: str) -> str:
    """Make `schema` equal to the template, in one transaction; which of the template's rows it then has. Runs on the
    owner's connection.

    Raises TemplateError when there is no template yet, or when the result's fingerprint is another one.
    """
    template = SchemaTemplate.objects.defer("structure").exclude(dump="").first()
    if template is None:
        raise TemplateError("There is no template of an institution yet; run `manage.py migrate_platform`.")
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(template.dump.replace(template.schema_name, schema))
        (made,) = fingerprints([schema]).values()
        if made != template.fingerprint:
            raise TemplateError(f"The schema {schema} is not equal to its template; nothing was kept.")
    return template.rows


def make_empty_schema(name: str) -> None:
    """A schema that the serving role may use, ready to be migrated. Does nothing to one that stands."""
    quoted = connection.ops.quote_name(name)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        # Without a table of its own the recorder would find public's and believe that everything is applied.
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {quoted}.django_migrations (LIKE public.django_migrations INCLUDING ALL)"
        )
    grant_serving_role(name)


def migrate_schema(context: InstitutionContext) -> None:
    """Apply the tenant apps' migrations inside the institution. Runs on the owner's connection."""
    with institution(context), acting(platform_work("migration")):
        call_command(Migrate(), interactive=False, verbosity=0, skip_checks=True)


def _dump(schema: str) -> str:
    """pg_dump's text of the template."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "template.sql"
        # An institution's log begins with its own first change.
        log = f"--exclude-table-data={schema}.audit_entry"
        dumps.dump(schema, target, "--inserts", "--rows-per-insert=500", log)
        return target.read_bytes().decode()


def _to_replay(raw: str) -> str:
    """The dump in the order of making, without what would outlast the transaction that replays it."""
    return "".join(dumps.bound(f"{line}\n") for line in arranged(raw).split("\n") if not line.startswith("--"))


def _rows(dump: str) -> str:
    """A hash of the rows that a dump carries, migration records left out."""
    lines = dump.splitlines()
    begin = [i for i, line in enumerate(lines) if line.startswith("INSERT INTO ") and "django_migrations" not in line]
    digest = hashlib.sha256()
    for start in begin:
        end = next(i for i in range(start, len(lines)) if lines[i].endswith(";"))
        digest.update("\n".join(lines[start : end + 1]).encode())
    return digest.hexdigest()
