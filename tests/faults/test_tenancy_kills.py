"""kill -9 at seeded points of the making, migrating, restoring and deleting of an institution.

Afterwards `tenant check` is content or says what to run, and running that mends it; nobody is served anything half
made, and the neighbours notice nothing. `make test-faults` tries every point (tests/faults/live).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.test import override_settings

from shared_apps.core.context import InstitutionContext, platform
from shared_apps.core.engine.owner import owner_connection
from shared_apps.tenants.services import migrate_platform
from tests.faults import tenancy
from tests.faults.dying import killed_at, points_of, seeded
from tests.faults.mending import check
from tests.security.isolation.canaries import digest_of

ALL = {"greenwood", "lumiere", "console"}
LATER = {"school": "tests.shared_apps.tenants.later_release"}


@pytest.fixture
def places(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    """Backups and files below a directory of the test's own."""
    with override_settings(BACKUP_DIR=tmp_path / "backups", MEDIA_ROOT=tmp_path / "media"):
        yield tmp_path / "media"


def test_a_making_that_is_killed_is_completed_by_what_check_says(
    transactional_db: None, lumiere: InstitutionContext
) -> None:
    neighbour = digest_of(lumiere)
    tenancy.making("before")()  # what the process remembers of it is no point of the others
    last = points_of(tenancy.making("whole"))
    for number, point in enumerate([*seeded(last, 1), last]):
        tenancy.try_making(f"half{number}", point)
    assert digest_of(lumiere) == neighbour


def test_a_migration_that_is_killed_is_completed_by_what_check_says(transactional_db: None) -> None:
    with override_settings(MIGRATION_MODULES=LATER):
        migrate_platform()
        last = points_of(tenancy.migrating())
        for point in seeded(last, 1):
            tenancy.take_back(ALL)
            tenancy.try_migrating(ALL, point)


def test_a_restore_that_is_killed_has_taken_place_or_has_not(places: Path, lumiere: InstitutionContext) -> None:
    """The last points are those of the flip."""
    neighbour = digest_of(lumiere)
    tenancy.ordered("tenant", "backup", "greenwood")()
    tenancy.restoring("greenwood")()  # as above
    last = points_of(tenancy.restoring("greenwood"))
    flipped = [tenancy.try_restoring("greenwood", point) for point in (*seeded(last - 8, 1), last)]
    assert (flipped[0], flipped[-1]) == (False, True)
    assert digest_of(lumiere) == neighbour


def test_a_deletion_that_is_killed_is_carried_out_by_the_next_run(places: Path, lumiere: InstitutionContext) -> None:
    neighbour = digest_of(lumiere)
    tenancy.doomed("first", places)
    last = points_of(tenancy.deleting())
    for number, point in enumerate(seeded(last, 1)):
        tenancy.try_deleting(f"doomed{number}", places, point)
    assert digest_of(lumiere) == neighbour


def test_a_kill_that_nothing_mends_is_noticed(transactional_db: None) -> None:
    """Negative control: a making that writes its schema in steps of their own leaves what check complains of."""

    def carelessly() -> None:
        with platform(), owner_connection(), connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA t_careless")
            cursor.execute("CREATE TABLE t_careless.a (id int)")
            cursor.execute("CREATE TABLE t_careless.b (id int)")

    assert check() == []
    assert killed_at(3, carelessly)
    assert check() == ["look into it, and drop it by hand"]
