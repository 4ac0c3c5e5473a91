"""The platform's own tables are backed up too, and a platform comes back from nothing but its backups."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import override_settings
from psycopg import sql

from shared_apps.core import bus
from shared_apps.core.context import Kind, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants import hosts
from shared_apps.tenants.backups import archive, back_up, due, keeping, scheduled, stores, verify
from shared_apps.tenants.backups.recovering import Recovered, recover
from shared_apps.tenants.checking import findings
from shared_apps.tenants.fingerprint import fingerprints
from shared_apps.tenants.models import Backup, Domain, SchemaTemplate, Tenant, Transition
from shared_apps.tenants.services import create_institution, find_tenant
from tests import cast as casting
from tests import servers
from tests.api import as_person
from tests.shared_apps.tenants.archives import content_of, tenant_of

SLUGS = ("console", "greenwood", "lumiere")
# What a recovery writes: which schema, when, that it was restored; and the template's text as it is after a replay.
TOLD = {"tenants_tenant", "tenants_transition", "tenants_backup", "tenants_schematemplate"}


def nothing_is_left() -> None:
    """The database is lost; an empty one stands in its place."""
    connections.close_all()
    name = connections.settings["default"]["NAME"]
    servers.drop(name)
    servers.run_on_server(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    hosts.forget()
    bus.client().flushdb()


def schema_of(slug: str) -> str:
    with platform():
        return find_tenant(slug).schema_name


def contents() -> dict[str, dict[str, str]]:
    """A digest of every table, of the platform and of everybody."""
    return {"public": content_of("public"), **{slug: content_of(schema_of(slug)) for slug in SLUGS}}


def differing(before: dict[str, dict[str, str]]) -> dict[str, set[str]]:
    after = contents()
    return {
        place: {name for name in tables | after[place] if tables.get(name) != after[place].get(name)}
        for place, tables in before.items()
    }


def everything_is_backed_up() -> None:
    for slug in SLUGS:
        with platform():
            tenant = find_tenant(slug)
        back_up(tenant=tenant)
    back_up(tenant=None)


def the_template() -> tuple[str, str, str]:
    """Name, rows and structure of what new institutions are copies of."""
    with platform():
        found = SchemaTemplate.objects.get()
        assert fingerprints([found.schema_name]) == {found.schema_name: found.fingerprint}
    return found.schema_name, found.rows, found.fingerprint


def ordered(*words: str) -> None:
    with platform():
        call_command("tenant", *words)


def test_a_platform_comes_back_from_nothing_and_people_sign_in(
    kept: str, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with platform():
        greenwood = find_tenant("greenwood")
    report = places / "media" / str(greenwood.pk) / "files" / "ab" / "report.pdf"
    report.parent.mkdir(parents=True)
    report.write_bytes(b"%PDF")
    everything_is_backed_up()
    before = contents()
    template = the_template()
    nothing_is_left()
    report.unlink()
    ordered("recover")
    assert the_template() == template
    assert capsys.readouterr().out.splitlines()[0].startswith("console: restored as of "), "the operators come first"
    found = differing(before)
    assert found["public"] == TOLD
    for slug in SLUGS:
        assert found[slug] <= {"accounts_session", "audit_entry", "audit_link", "audit_head", "eventlog_job"}, slug
    assert report.read_bytes() == b"%PDF"
    for slug, role in (("greenwood", "principal"), ("console", "operator")):
        with platform():
            context = find_tenant(slug).context
        person = getattr(casting.of(context), role)
        assert as_person(context, person).get("/api/v1/auth/me/").status_code == 200
    assert findings() == []
    ordered("recover")
    assert differing(before)["public"] == TOLD, "nothing is left to do"
    with platform():
        assert Transition.objects.filter(verb="restore").count() == len(SLUGS)
        assert {made.tenant_id for made in Backup.objects.all()} == {None, *Tenant.objects.values_list("pk", flat=True)}


def test_an_institution_that_the_platform_s_backup_does_not_know_comes_back(places: Path) -> None:
    back_up(tenant=None)
    with platform():
        young = create_institution(new=NewInstitution("Rheintal", "rheintal"))
    back_up(tenant=young)
    nothing_is_left()
    told: list[Recovered] = []
    recover(tell=told.append)
    assert {each.slug: bool(each.made_at) for each in told} == {
        "rheintal": True,
        **dict.fromkeys(SLUGS, False),
    }, "negative control: of those without a backup it says so"
    with platform():
        assert find_tenant("rheintal").pk == young.pk
        assert Domain.objects.get(slug="rheintal").tenant_id == young.pk
    assert {finding.mend for finding in findings()} == {"manage.py tenant recover"}


def test_a_recovery_that_dies_is_gone_on_with(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared_apps.tenants.backups import recovering

    everything_is_backed_up()
    before = contents()
    nothing_is_left()
    plainly = recovering.restore

    def dying(*, tenant: Tenant, source: Path) -> Tenant:
        if tenant.kind == Kind.OPERATOR:
            return plainly(tenant=tenant, source=source)
        raise KeyboardInterrupt

    monkeypatch.setattr(recovering, "restore", dying)
    with pytest.raises(KeyboardInterrupt):
        recover(tell=lambda done: None)
    monkeypatch.undo()
    assert [done.slug for done in recover(tell=lambda done: None)] == ["greenwood", "lumiere"]
    assert differing(before)["public"] == TOLD


def test_an_older_backup_serves_when_the_newest_is_damaged(places: Path) -> None:
    everything_is_backed_up()
    with platform():
        newest = back_up(tenant=find_tenant("greenwood"))
        before = Backup.objects.filter(tenant=newest.tenant).last()
    assert before is not None
    damaged = places / "backups" / newest.file
    damaged.write_bytes(damaged.read_bytes()[:-100])
    nothing_is_left()
    told = {each.slug: each for each in recover(tell=lambda done: None)}
    assert told["greenwood"].made_at == f"{before.made_at:%Y-%m-%d %H:%M:%S} UTC"
    assert not any(each.trouble for each in told.values())


def test_nothing_is_recovered_over_what_stands(places: Path) -> None:
    made = back_up(tenant=None)
    before = contents()
    with pytest.raises(Conflict, match="stands in this database"):
        recover(source=places / "backups" / made.file, tell=lambda done: None)
    assert contents() == before
    nothing_is_left()
    with platform(), owner_connection(), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE public.of_somebody_else ()")
    with pytest.raises(Conflict, match="one that is empty"):
        recover(tell=lambda done: None)


def test_what_is_no_backup_of_the_platform_is_refused_and_the_database_stays_empty(
    places: Path, greenwood: Any
) -> None:
    own = back_up(tenant=tenant_of(greenwood))
    nothing_is_left()
    with pytest.raises(Invalid, match="no backup of the platform"):
        recover(tell=lambda done: None)
    with pytest.raises(Invalid, match="a backup of Greenwood High"):
        recover(source=places / "backups" / own.file, tell=lambda done: None)
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchone()[0] == 0


def test_a_backup_of_the_platform_is_restored_aside_and_nothing_is_left_of_it(places: Path) -> None:
    made = back_up(tenant=None)
    before = content_of("public")
    assert verify(made).verdict == "restored"
    with platform(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_database WHERE starts_with(datname, current_database() || '_rehearsal')"
        )
        assert cursor.fetchone()[0] == 0
    assert {name for name, rows in content_of("public").items() if before[name] != rows} == {"tenants_backup"}
    with platform():
        Tenant.objects.update(plan="large")
    assert verify(made).verdict == "restored", "what was written since is not in it"


def test_a_damaged_backup_of_the_platform_is_found_and_told(places: Path) -> None:
    made = back_up(tenant=None)
    path = places / "backups" / made.file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CommandError, match="is not what was written"):
        ordered("verify-backup", "--platform")
    assert [(found.where, found.mend) for found in findings()] == [
        ("the platform", "manage.py tenant backup --platform")
    ]
    ordered("backup", "--platform")
    assert findings() == []


def test_the_platform_is_backed_up_every_day_whoever_wrote(places: Path) -> None:
    with override_settings(BACKUPS_SCHEDULED=True), platform():
        assert None in {each.tenant for each in due.due()}
        assert None in {made.tenant for made in scheduled.make_due_backups()}
        assert None not in {each.tenant for each in due.due()}
        Backup.objects.filter(tenant=None).update(made_at=datetime.now(UTC) - timedelta(hours=25))
        assert [each.tenant for each in due.due()] == [None]
        made = scheduled.make_due_backups()
        assert [each.tenant for each in made] == [None]
        with archive.opened(places / "backups" / made[0].file) as opened:
            assert opened.manifest.tables["tenants_tenant"] == len(SLUGS)
            assert opened.manifest.institution == ""


def test_a_file_on_no_record_is_taken_on_record_by_the_next_run(places: Path, greenwood: Any) -> None:
    """A kill between the file and its record."""
    lost = back_up(tenant=tenant_of(greenwood))
    with override_settings(BACKUPS_SCHEDULED=True), platform():
        Backup.objects.all().delete()
        (places / "backups" / str(greenwood.id) / "notes.age").write_text("somebody else's")
        scheduled.make_due_backups()
        found = Backup.objects.get(file=lost.file)
        assert (found.sha256, found.size, found.tenant_id) == (lost.sha256, lost.size, greenwood.id)
        assert found.made_at == lost.made_at.replace(microsecond=0)
        assert len(stores.store().keys(keeping.folder_of(found.tenant))) == 3
