"""One stack for the whole run."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.live.stack import PERSON, Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    if shutil.which("nginx") is None:
        pytest.exit("nginx is not installed: `apt-get install nginx`, then `make test-deploy` again.", returncode=1)
    home = Path(tempfile.mkdtemp(prefix="deployed-"))
    made = Stack(home)
    try:
        made.make()
        made.run("migrate", made.command("migrate"))
        manage = ["python", "manage.py"]
        new = ["tenant", "create", "greenwood", "Greenwood High", "--admin-email", PERSON["email"]]
        made.run("web-1", [*manage, *new])
        made.run("web-1", [*manage, "set_password", "greenwood", PERSON["email"]], PERSON["password"])
        for service in ("web-1", "web-2", "realtime", "worker", "beat", "relay", "metrics"):
            made.start(service)
        for service in ("web-1", "web-2", "realtime"):
            made.ready(service)
        made.start_nginx()
        yield made
    finally:
        made.end()
        shutil.rmtree(home, ignore_errors=True)
