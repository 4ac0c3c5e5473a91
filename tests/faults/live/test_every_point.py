"""Every point of a making, a migration and a deletion, and many of a restore: kill -9 at each of them.

The trials are those of tests/faults/test_tenancy_kills.py.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from shared_apps.core.context import InstitutionContext
from shared_apps.tenants.services import migrate_platform
from tests.faults import tenancy
from tests.faults.dying import points_of, seeded
from tests.faults.test_tenancy_kills import ALL, LATER
from tests.security.isolation.canaries import digest_of

MOST = 60  # points of one verb; one that has fewer is tried at each


@pytest.fixture
def places(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    with override_settings(BACKUP_DIR=tmp_path / "backups", MEDIA_ROOT=tmp_path / "media"):
        yield tmp_path / "media"


def test_a_making(transactional_db: None, lumiere: InstitutionContext) -> None:
    neighbour = digest_of(lumiere)
    tenancy.making("before")()  # what the process remembers of it is no point of the others
    last = points_of(tenancy.making("whole"))
    for point in seeded(last, MOST):
        tenancy.try_making(f"half{point}", point)
    assert digest_of(lumiere) == neighbour


def test_a_migration(transactional_db: None) -> None:
    with override_settings(MIGRATION_MODULES=LATER):
        migrate_platform()
        last = points_of(tenancy.migrating())
        for point in seeded(last, MOST):
            tenancy.take_back(ALL)
            tenancy.try_migrating(ALL, point)


def test_a_restore(places: Path, lumiere: InstitutionContext) -> None:
    """Its last points are those of the flip: all of them are tried."""
    neighbour = digest_of(lumiere)
    tenancy.ordered("tenant", "backup", "greenwood")()
    tenancy.restoring("greenwood")()  # as above
    last = points_of(tenancy.restoring("greenwood"))
    points = sorted({*seeded(last, MOST), *range(last - 15, last + 1)})
    flipped = [tenancy.try_restoring("greenwood", point) for point in points]
    assert flipped == sorted(flipped), "there is one point before which all is old and after which all is new"
    assert {*flipped} == {False, True}
    assert digest_of(lumiere) == neighbour


def test_a_deletion(places: Path, lumiere: InstitutionContext) -> None:
    neighbour = digest_of(lumiere)
    tenancy.doomed("first", places)
    last = points_of(tenancy.deleting())
    for point in seeded(last, MOST):
        tenancy.try_deleting(f"doomed{point}", places, point)
    assert digest_of(lumiere) == neighbour
