"""Backups that are not what they should be, and objects that nobody ordered: refused or reported, and not touched."""

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from random import Random

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.core.errors import Invalid
from shared_apps.tenants.backups import back_up, restore
from shared_apps.tenants.checking import findings
from shared_apps.tenants.models import KeptSchema
from tests.faults.tenancy import found, schemas
from tests.security.isolation.canaries import digest_of
from tests.shared_apps.tenants.archives import path_of

Change = Callable[[bytes, Random], bytes]


def flipped(content: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def overwritten(content: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(content) - 64)
    return content[:at] + chance.randbytes(64) + content[at + 64 :]


def exchanged(content: bytes, chance: Random) -> bytes:
    one, other = sorted(chance.sample(range(len(content)), 2))
    return content[other:] + content[one:other] + content[:one]


CHANGES: dict[str, Change] = {
    "a bit flipped": flipped,
    "overwritten in part": overwritten,
    "cut off": lambda content, chance: content[: chance.randrange(len(content))],
    "parts exchanged": exchanged,
    "more at the end": lambda content, chance: content + chance.randbytes(10),
    "doubled": lambda content, chance: content + content,
    "empty": lambda content, chance: b"",
}


@pytest.fixture
def places(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    with (
        override_settings(BACKUP_DIR=tmp_path / "backups", MEDIA_ROOT=tmp_path / "media"),
        acting(command("test")),
        platform(),
    ):
        yield tmp_path


def test_a_damaged_or_foreign_backup_is_refused_before_anything_is_touched(
    places: Path, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    chance = Random(2026)
    good = path_of(back_up(tenant=found("greenwood")))
    foreign = path_of(back_up(tenant=found("lumiere")))
    content, bad = good.read_bytes(), places / "bad.age"
    before = schemas(), digest_of(greenwood), digest_of(lumiere)
    sources = [foreign]
    for change in CHANGES.values():
        for _ in range(4):
            bad.write_bytes(change(content, chance))
            sources.append(bad)
            with pytest.raises(Invalid):
                restore(tenant=found("greenwood"), source=bad)
    with pytest.raises(Invalid) as refused:
        restore(tenant=found("greenwood"), source=foreign)
    assert refused.value.code == "foreign_backup"
    assert not KeptSchema.objects.exists(), "not even a schema was begun"
    assert (schemas(), digest_of(greenwood), digest_of(lumiere)) == before
    assert findings() == []
    assert restore(tenant=found("greenwood"), source=good).schema_name != greenwood.schema_name, "the control"


FOREIGN = {
    "CREATE TABLE {schema}.by_hand (id int)": "DROP TABLE {schema}.by_hand",
    "ALTER TABLE {schema}.school_room ADD COLUMN by_hand int": "ALTER TABLE {schema}.school_room DROP COLUMN by_hand",
    "CREATE INDEX by_hand_too ON {schema}.school_campus (city)": "DROP INDEX {schema}.by_hand_too",
    "CREATE VIEW {schema}.by_hand_as_well AS SELECT 1 AS one": "DROP VIEW {schema}.by_hand_as_well",
    "CREATE TYPE {schema}.mood AS ENUM ('glad')": "DROP TYPE {schema}.mood",
    "CREATE DOMAIN {schema}.grade AS int": "DROP DOMAIN {schema}.grade",
    "CREATE FUNCTION {schema}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'": "DROP FUNCTION {schema}.f()",
    "GRANT SELECT ON {schema}.school_campus TO PUBLIC": "REVOKE SELECT ON {schema}.school_campus FROM PUBLIC",
    "ALTER TABLE {schema}.school_campus DISABLE TRIGGER USER": "ALTER TABLE {schema}.school_campus ENABLE TRIGGER USER",
}
"""What a hand does, and undoes."""


def as_owner(statement: str) -> None:
    with owner_connection(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_what_somebody_made_by_hand_is_reported_and_not_dropped(places: Path, greenwood: InstitutionContext) -> None:
    for statement in FOREIGN:
        as_owner(statement.format(schema=greenwood.schema_name))
    as_owner("CREATE SCHEMA t_byhand")
    before = digest_of(greenwood), schemas()
    said = {(finding.where, finding.what.split()[0]) for finding in findings()}
    assert said == {("greenwood", "schema"), ("t_byhand", "a")}
    for verb in ("migrate", "prune", "finish-deletions"):
        call_command("tenant", verb, stdout=StringIO())
    with pytest.raises(CommandError, match="2 findings"):
        call_command("tenant", "check", stdout=StringIO())
    assert (digest_of(greenwood), schemas()) == before
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'by\\_hand%'")
        assert cursor.fetchone() == (3,), "the table, the index and the view stand"


def test_each_of_them_alone_is_noticed(places: Path, greenwood: InstitutionContext) -> None:
    for made, undone in FOREIGN.items():
        assert findings() == [], "the control"
        as_owner(made.format(schema=greenwood.schema_name))
        assert [finding.where for finding in findings()] == ["greenwood"], made
        as_owner(undone.format(schema=greenwood.schema_name))
