"""What is done to institutions in the kill tests, and what must hold whenever it was killed.

Each trial makes what it needs, kills at a point, lets `tenant check` say what to run, runs it, and looks at everything.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

from shared_apps.core.actors import Actor, ActorKind, acting, command
from shared_apps.core.context import State, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.ids import uuid7
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants import hosts
from shared_apps.tenants.backups import back_up
from shared_apps.tenants.deleting import confirm_deletion, request_deletion
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.models import Deletion, SchemaTemplate, Tenant
from shared_apps.tenants.services import create_institution
from tenant_apps.accounts.models import Role, User
from tenant_apps.school.models import Campus, Institution
from tests.faults.dying import killed_at
from tests.faults.mending import check, mend
from tests.shared_apps.tenants.archives import path_of

Work = Callable[[], Any]


def ordered(*words: str) -> Work:
    """A command of manage.py."""

    def work() -> None:
        with platform(), acting(command("test")):
            call_command(*words, stdout=StringIO(), stderr=StringIO())

    return work


def find(slug: str) -> Tenant | None:
    with platform():
        return Tenant.objects.prefetch_related("domains").filter(domains__slug=slug).first()


def found(slug: str) -> Tenant:
    tenant = find(slug)
    assert tenant is not None
    return tenant


def status_of(slug: str) -> int:
    hosts.forget()
    return int(Client(raise_request_exception=False).get("/", HTTP_HOST=f"{slug}.localhost").status_code)


def equals_the_template(slug: str) -> bool:
    schema = found(slug).schema_name
    with platform():
        return fingerprints([schema]).get(schema) == SchemaTemplate.objects.get().fingerprint


def schemas() -> set[str]:
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\\_%'")
        return {name for (name,) in cursor.fetchall()}


def campus_names(slug: str) -> set[str]:
    with institution(found(slug).context):
        return set(Campus.objects.values_list("name", flat=True))


# The trials: how it was killed is the caller's choice.


def making(slug: str) -> Work:
    more = ("--admin-email", f"head@{slug}.test", "--currency", "EUR", "--time-zone", "Europe/Paris")
    return ordered("tenant", "create", slug, "Half", *more)


def try_making(slug: str, point: int) -> None:
    assert killed_at(point, making(slug)), "the kill came after the end"
    left = find(slug)
    assert status_of(slug) == (404 if left is None else 200 if left.state == State.ACTIVE else 503)
    ran = mend()
    assert all(f" {slug} " in f"{one} " for one in ran), ran
    if find(slug) is None:  # it died before it had begun: the order is simply given again
        making(slug)()
    assert status_of(slug) == 200
    assert equals_the_template(slug)
    with institution(found(slug).context):
        assert [user.email for user in User.objects.all()] == [f"head@{slug}.test"], "as it was ordered"
        profile = Institution.objects.get()
        assert (profile.currency, profile.time_zone) == ("EUR", "Europe/Paris")


def migrating() -> Work:
    return ordered("tenant", "migrate", "--parallel", "2", "--canaries", "1")


def take_back(slugs: set[str]) -> None:
    """What the later release brought (tests/shared_apps/tenants/later_release): they are behind again."""
    with platform(), owner_connection(), connection.cursor() as cursor:
        for schema in (found(slug).schema_name for slug in slugs):
            dropped = ", ".join(f"DROP COLUMN extra_{number}" for number in range(10))
            cursor.execute(f"ALTER TABLE {schema}.school_campus {dropped}")
            cursor.execute(f"DELETE FROM {schema}.django_migrations WHERE app = 'school' AND name LIKE '0002%'")


def try_migrating(slugs: set[str], point: int) -> None:
    """Run with a later release installed, whose template is migrated, and the institutions behind."""
    assert killed_at(point, migrating()), "the kill came after the end"
    for slug in slugs:
        assert status_of(slug) == 200, "old or new, it is served"
    assert set(mend()) <= {"manage.py tenant migrate"}
    migrating()()
    assert all(map(equals_the_template, slugs))
    for slug in slugs:
        with institution(found(slug).context):
            assert Role.objects.exists(), "and its rows are there"


def restoring(slug: str) -> Work:
    return ordered("tenant", "restore", slug)


def renamed_since(slug: str, name: str) -> None:
    with institution(found(slug).context), acting(command("test")), transaction.atomic():
        Campus.objects.update(name=name)


def try_restoring(slug: str, point: int) -> bool:
    """With a backup made before. True when the restore had taken place when the kill came."""
    before, now = found(slug).schema_name, f"After {point}"
    renamed_since(slug, now)
    assert killed_at(point, restoring(slug)), "the kill came after the end"
    flipped = found(slug).schema_name != before
    assert status_of(slug) == 200
    assert (now in campus_names(slug)) is not flipped, "all of the old or all of the new"
    assert set(mend()) <= {"manage.py tenant prune"}
    assert equals_the_template(slug)
    restoring(slug)()
    assert now not in campus_names(slug)
    ordered("tenant", "undo-restore", slug)()
    return flipped


def doomed(slug: str, media: Path) -> Tenant:
    """An archived institution with a file and a backup, whose deletion is due."""
    with platform(), acting(command("test")):
        made = create_institution(new=NewInstitution("Doomed", slug))
        back_up(tenant=made)
        kept = media / str(made.pk) / "files" / "a.pdf"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"%PDF")
        change_state(tenant=made, to=State.ARCHIVED, reason="closed")
        for name, say in (("anna", lambda: request_deletion(tenant=made, reason="x")), ("bert", confirm(made))):
            with acting(Actor(ActorKind.PERSON, f"{name}@lyceum.test", user_id=uuid7())):
                say()
        Deletion.objects.filter(tenant=made).update(due_at=datetime.now(UTC) - timedelta(seconds=1))
        return made


def confirm(tenant: Tenant) -> Work:
    return lambda: confirm_deletion(tenant=tenant)


def deleting() -> Work:
    return ordered("tenant", "finish-deletions")


def try_deleting(slug: str, media: Path, point: int) -> None:
    tenant = doomed(slug, media)
    assert killed_at(point, deleting()), "the kill came after the end"
    assert status_of(slug) in (404, 410), "nobody is served any of it"
    assert set(mend()) <= {"manage.py tenant finish-deletions"}
    deleting()()
    assert check() == []
    with platform():
        gone = Tenant.objects.get(pk=tenant.pk)
        assert gone.state == State.DELETED
        assert gone.backups.count() == 1, "the final one"
        assert path_of(gone.backups.get()).exists()
    assert tenant.schema_name not in schemas()
    assert not (media / str(tenant.pk)).exists()
