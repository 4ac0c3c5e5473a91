"""What is written of a schema without pg_dump is what pg_dump would write of it."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction

from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.tenants import dumps, snapshots
from shared_apps.tenants.arranging import entries_of
from tenant_apps.school.models import Campus

ODD = 'tab\t, back\\slash, "quotes", line\nbreak, \\N, \\., é'


def written(schema: str, target: Path) -> str:
    with platform(), owner_connection(), snapshots.snapshot(schema):
        snapshots.write(schema, target)
    return target.read_text(encoding="utf-8")


def by_pg_dump(schema: str, target: Path) -> str:
    dumps.dump(schema, target)
    return target.read_text(encoding="utf-8")


def structure(text: str) -> list[str]:
    """Every object that the text makes. A condition that has been through a dump gets more casts and brackets."""
    without_rows = re.sub(r"^COPY .*?^\\\.$", "", text, flags=re.M | re.S)
    without_rows = re.sub(r"^SELECT pg_catalog.setval.*$|^-- Rows$|^.unrestrict.*$", "", without_rows, flags=re.M)
    _, entries = entries_of(without_rows)
    texts = [entry.whole.rstrip("-\n") for entry in entries if entry.kind not in snapshots.ROWS]
    return [re.sub(r"::(text|character varying)(\[\])?|[()]", "", text) for text in texts]


def rows(text: str) -> dict[str, list[str]]:
    """The lines of each table, by its COPY; and where the sequences stand."""
    found = {
        head.replace('"', ""): sorted(body.splitlines())
        for head, body in re.findall(r"^(COPY .*? FROM stdin;)\n(.*?)^\\\.$", text, flags=re.M | re.S)
    }
    found["sequences"] = sorted(
        line.replace('"', "") for line in re.findall(r"^SELECT pg_catalog\.setval\(.*$", text, flags=re.M)
    )
    return found


@pytest.fixture
def odd(transactional_db: None, greenwood: InstitutionContext) -> None:
    with institution(greenwood):
        Campus.objects.create(code="ODD", name=ODD)


def test_it_holds_the_objects_and_the_rows_that_pg_dump_writes(
    odd: None, greenwood: InstitutionContext, tmp_path: Path
) -> None:
    ours, theirs = (
        written(greenwood.schema_name, tmp_path / "ours.sql"),
        by_pg_dump(greenwood.schema_name, tmp_path / "theirs.sql"),
    )
    assert structure(ours) == structure(theirs)
    assert rows(ours) == rows(theirs)
    assert "\\\\N" in ours, "an odd text is there as COPY writes it"


def test_nobody_alters_a_table_while_it_is_read(transactional_db: None, greenwood: InstitutionContext) -> None:
    alter = f"SET lock_timeout = 100; ALTER TABLE {greenwood.schema_name}.school_campus ADD COLUMN late int"

    def try_it() -> bool:
        with platform(), owner_connection(), transaction.atomic(), connection.cursor() as cursor:
            try:
                cursor.execute(alter)
            except OperationalError:
                return False
            finally:
                transaction.set_rollback(True)
        return True

    with ThreadPoolExecutor(1) as beside:
        with platform(), owner_connection(), snapshots.snapshot(greenwood.schema_name):
            assert not beside.submit(try_it).result()
        assert beside.submit(try_it).result(), "negative control"


def test_a_schema_unlike_the_template_is_left_to_pg_dump(
    transactional_db: None, greenwood: InstitutionContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    dump = dumps.dump

    def noted(schema: str, target: Path, *options: str) -> None:
        asked.append(schema)
        dump(schema, target, *options)

    monkeypatch.setattr(dumps, "dump", noted)
    assert "by_hand" not in written(greenwood.schema_name, tmp_path / "before.sql")
    assert asked == []
    with platform(), owner_connection(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {greenwood.schema_name}.school_campus ADD COLUMN by_hand int")
        try:
            assert "by_hand" in written(greenwood.schema_name, tmp_path / "after.sql")
        finally:
            cursor.execute(f"ALTER TABLE {greenwood.schema_name}.school_campus DROP COLUMN by_hand")
    assert asked == [greenwood.schema_name]
