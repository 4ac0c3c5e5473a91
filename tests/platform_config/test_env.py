"""A setting that is missing or misspelt stops the start with its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from platform_config import env

TOP = Path(__file__).resolve().parents[2]


def test_a_missing_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_SETTING", raising=False)
    with pytest.raises(env.SettingsError, match="A_SETTING is not set"):
        env.text("A_SETTING")


def test_a_value_may_stand_in_a_file_but_not_in_both_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from the file\n")
    monkeypatch.setenv("A_SETTING_FILE", str(secret))
    assert env.text("A_SETTING") == "from the file"
    monkeypatch.setenv("A_SETTING", "also here")
    with pytest.raises(env.SettingsError, match="both set"):
        env.text("A_SETTING")
    monkeypatch.delenv("A_SETTING")
    monkeypatch.setenv("A_SETTING_FILE", str(tmp_path / "nothing"))
    with pytest.raises(env.SettingsError, match="cannot read"):
        env.text("A_SETTING")


@pytest.mark.parametrize(
    ("reader", "value", "complaint"),
    [
        (lambda: env.integer("A_SETTING", 1), "ten", "not a whole number"),
        (lambda: env.integer("A_SETTING", 1, least=5), "4", "least is 5"),
        (lambda: env.flag("A_SETTING", False), "ture", "true or false"),
        (lambda: env.rate("A_SETTING", "1/hour"), "1000 per hour", "write a rate"),
        (lambda: env.rate("A_SETTING", "1/hour"), "0/hour", "write a rate"),
        (lambda: env.database("A_SETTING"), "mysql://x/y", "postgresql://"),
        (lambda: env.database("A_SETTING"), "postgresql://x", "names no database"),
        (lambda: env.database("A_SETTING"), "postgresql://x:port/y", "not a number"),
    ],
)
def test_a_misspelt_value_is_named_with_its_mend(
    monkeypatch: pytest.MonkeyPatch, reader: object, value: str, complaint: str
) -> None:
    monkeypatch.setenv("A_SETTING", value)
    with pytest.raises(env.SettingsError, match=complaint) as refused:
        reader()  # type: ignore[operator]
    assert "A_SETTING" in str(refused.value)


NAMES = {part: f"A_SETTING_{part.upper()}" for part in ("endpoint", "region", "key_id", "secret")}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"A_SETTING": "s3://Upper/x"}, "s3://bucket/prefix"),
        ({"A_SETTING": "s3://key:secret@bucket/x"}, "no key and no server"),
        ({"A_SETTING": "s3://bucket/../other"}, "s3://bucket/prefix"),
        ({"A_SETTING": "https://store.test/bucket"}, "s3://bucket/prefix"),
        ({"A_SETTING": "s3://bucket", "A_SETTING_ENDPOINT": "store.test:9000"}, "https://host"),
        ({"A_SETTING": "s3://bucket", "A_SETTING_ENDPOINT": "https://store.test/bucket"}, "and no more"),
        ({"A_SETTING": "s3://bucket", "A_SETTING_KEY_ID": "me"}, "set both, or neither"),
        ({"A_SETTING_SECRET": "mine"}, "A_SETTING_SECRET is set and A_SETTING is not"),
    ],
)
def test_a_place_in_an_object_store_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], complaint: str
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(env.SettingsError, match=complaint):
        env.object_store("A_SETTING", **NAMES)


def test_a_place_in_an_object_store_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert env.object_store("A_SETTING", **NAMES) is None
    secret = tmp_path / "secret"
    secret.write_text("mine\n")
    monkeypatch.setenv("A_SETTING_SECRET_FILE", str(secret))
    monkeypatch.setenv("A_SETTING", "s3://some-bucket/lyceum/backups/")
    monkeypatch.setenv("A_SETTING_ENDPOINT", "https://store.test:9000/")
    monkeypatch.setenv("A_SETTING_KEY_ID", "me")
    assert env.object_store("A_SETTING", **NAMES) == {
        "bucket": "some-bucket",
        "prefix": "lyceum/backups",
        "endpoint": "https://store.test:9000",
        "region": "us-east-1",
        "key_id": "me",
        "secret": "mine",
    }


def test_a_database_address_is_read_with_its_socket_and_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SETTING", "postgresql://me:p%40ss@db.test:6543/school?sslmode=require")
    read = env.database("A_SETTING")
    assert (read["USER"], read["PASSWORD"], read["HOST"], read["PORT"]) == ("me", "p@ss", "db.test", "6543")
    assert read["OPTIONS"] == {**env.GONE_SOON, "sslmode": "require"}
    monkeypatch.setenv("A_SETTING", "postgresql://me@/school?host=/run/pg")
    assert env.database("A_SETTING")["HOST"] == "/run/pg"


def start(settings: str, **changes: str) -> subprocess.CompletedProcess[str]:
    values = {
        "DJANGO_SETTINGS_MODULE": f"platform_config.settings.{settings}",
        "DATABASE_URL": "postgresql://owner@db.test/lyceum",
        "DATABASE_APP_URL": "postgresql://app@db.test/lyceum",
        "REDIS_URL": "redis://cache.test/0",
        "SECRET_KEY": "6f1d0c9be8a7f6e5d4c3b2a190817263544536271809afbecd",
        "PLATFORM_DOMAIN": "lyceum.example.org",
        "TRUSTED_PROXIES": "10.0.0.5",
    }
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "manage.py", "diffsettings"]
    environment = {name: value for name, value in {**kept, **values, **changes}.items() if value}
    return subprocess.run(command, cwd=TOP, env=environment, check=False, capture_output=True, text=True)


def test_production_starts_with_real_servers_and_a_strong_secret() -> None:
    """Negative control of the next test."""
    started = start("production")
    assert started.returncode == 0, started.stderr
    assert "lyceum-demo" in next(line for line in started.stdout.splitlines() if line.startswith("REFUSED_PASSWORDS"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is weak"),
        ({"SECRET_KEY": "abcdefghij" + "a" * 39}, "SECRET_KEY is weak"),
        ({"SECRET_KEY": "Change-Me_" + "0123456789abcdef" * 4}, "SECRET_KEY is a placeholder"),
        ({"SECRET_KEY_FALLBACKS": "short"}, "SECRET_KEY_FALLBACKS is weak"),
        ({"DATABASE_APP_URL": ""}, "DATABASE_APP_URL is not set"),
        ({"DATABASE_APP_URL": "postgresql://owner@db.test/lyceum"}, "names the owner's role"),
        ({"DATABASE_APP_URL": "postgresql://app@/lyceum?host=/tmp/lyceum-a1b2"}, "embedded"),
        ({"REDIS_URL": f"unix://{TOP}/.data/run/redis.sock?db=0"}, "embedded"),
        ({"DATABASE_URL": "postgresql://lyceum@/lyceum?host=/tmp/lyceum-a1b2"}, "embedded"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, proxy"}, "TRUSTED_PROXIES"),
        ({"PLATFORM_DOMAIN": "exa mple"}, "PLATFORM_DOMAIN"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL"),
        ({"REPORT_FONTS": "/nowhere/fonts"}, "REPORT_FONTS"),
        ({"PLATFORM_DOMAIN": ""}, "PLATFORM_DOMAIN is not set"),
        ({"PLATFORM_DOMAIN": "localhost"}, "PLATFORM_DOMAIN is localhost"),
        ({"PLATFORM_DOMAIN": "schools.localhost"}, "PLATFORM_DOMAIN is localhost"),
        ({"TRUSTED_PROXIES": ""}, "TRUSTED_PROXIES is empty"),
        ({"TRUSTED_PROXIES": "10.0.0.5, ::/0"}, "TRUSTED_PROXIES names every address"),
        ({"BACKUP_STORE": "/var/backups"}, "BACKUP_STORE is '/var/backups'; write s3://bucket/prefix"),
        ({"BACKUP_STORE_REGION": "eu-west-1"}, "BACKUP_STORE_REGION is set and BACKUP_STORE is not"),
        (
            {"BACKUP_STORE": "s3://backups", "BACKUP_STORE_ENDPOINT": "http://store.test:9000"},
            "BACKUP_STORE_ENDPOINT is plain http",
        ),
    ],
)
def test_production_refuses_what_is_for_local_runs(changes: dict[str, str], complaint: str) -> None:
    refused = start("production", **changes)
    assert refused.returncode != 0
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr


def test_production_refuses_a_base_that_was_left_in_debug() -> None:
    patched = "from platform_config.settings import base; base.DEBUG = {}; import platform_config.settings.production"
    environment = {
        **os.environ,
        "DATABASE_URL": "postgresql://owner@db.test/lyceum",
        "DATABASE_APP_URL": "postgresql://app@db.test/lyceum",
        "REDIS_URL": "redis://cache.test/0",
        "PLATFORM_DOMAIN": "lyceum.example.org",
        "TRUSTED_PROXIES": "10.0.0.5",
    }
    for debug in (True, False):
        command = [sys.executable, "-c", patched.format(debug)]
        started = subprocess.run(command, cwd=TOP, env=environment, check=False, capture_output=True, text=True)
        assert ("DEBUG is on" in started.stderr) is debug, started.stderr
        assert (started.returncode != 0) is debug


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("smtp://a%40b:p%3Aw@mail.example", ("mail.example", 587, "a@b", "p:w", False, True)),
        ("smtps://mail.example:1465", ("mail.example", 1465, "", "", True, False)),
        ("smtp+plain://localhost", ("localhost", 25, "", "", False, False)),
    ],
)
def test_a_mail_server_is_read(monkeypatch: pytest.MonkeyPatch, address: str, found: tuple[object, ...]) -> None:
    monkeypatch.setenv("EMAIL_URL", address)
    assert tuple(env.mail("EMAIL_URL").values()) == found


@pytest.mark.parametrize("address", ["mail.example", "http://mail.example", "smtp://", "smtp://mail.example:many"])
def test_what_is_no_mail_server_stops_the_start(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("EMAIL_URL", address)
    with pytest.raises(env.SettingsError, match="EMAIL_URL"):
        env.mail("EMAIL_URL")
    monkeypatch.delenv("EMAIL_URL")
    assert env.mail("EMAIL_URL") == {}
