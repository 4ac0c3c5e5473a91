"""Places on disk, and operators in person."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from django.test import override_settings

from shared_apps.core.actors import Actor, ActorKind, acting, command
from shared_apps.core.ids import uuid7
from tests.objects import emptied, object_server, settings_of


@pytest.fixture
def places(transactional_db: None, tmp_path: Path) -> Iterator[Path]:
    """Backups and files below a directory of the test's own."""
    with override_settings(BACKUP_DIR=tmp_path / "backups", MEDIA_ROOT=tmp_path / "media"), acting(command("test")):
        yield tmp_path


class Operator:
    """One operator: `with anna():` runs a block as her."""

    def __init__(self, name: str) -> None:
        self.actor = Actor(ActorKind.PERSON, f"{name}@lyceum.test", user_id=uuid7())

    def __call__(self) -> AbstractContextManager[Actor]:
        return acting(self.actor)


@pytest.fixture
def anna() -> Operator:
    return Operator("anna")


@pytest.fixture
def bert() -> Operator:
    return Operator("bert")


@pytest.fixture(scope="session")
def object_store_server() -> Iterator[str]:
    with object_server() as endpoint:
        yield endpoint


@pytest.fixture
def object_store(object_store_server: str) -> str:
    """The address of an object store with an empty bucket."""
    emptied(object_store_server)
    return object_store_server


@pytest.fixture(params=["directory", "object store"])
def kept(request: pytest.FixtureRequest, places: Path) -> Iterator[str]:
    """Backups lie in each kind of store in turn."""
    if request.param == "directory":
        (places / "backups").mkdir()
        yield request.param
    else:
        endpoint = request.getfixturevalue("object_store")
        with override_settings(BACKUP_STORE=settings_of(endpoint)):
            yield request.param
