"""What the composition and the image promise, read from their files: no Docker is needed to break one of them."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest

from tests.deploy.composition import COMPOSE, DOCKERFILE, TOP, composition, copied, instructions, procfile
from tests.docs.test_links import variables_listed

OURS = ("web-1", "web-2", "realtime", "worker", "beat", "relay", "metrics")
# Variables of the servers' own images.
FOREIGN = {"POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS"}
SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas/vendor/compose-spec.json"
ALWAYS_UP = ("postgres", "redis", "nginx", *OURS)


def invalid(found: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(found)]


def unlike_the_procfile(found: dict[str, Any]) -> list[str]:
    lines = procfile()
    services = {name: found["services"][name]["command"] for name in OURS}
    return [
        name
        for name, command in services.items()
        if command != ["sh", "-c", lines[name.partition("-")[0]].replace("$", "$$")]
    ]


def unlisted_variables(found: dict[str, Any]) -> set[str]:
    listed = variables_listed(TOP / "docs/operations/configuration.md")
    named = {name for service in found["services"].values() for name in service.get("environment", {})} - FOREIGN
    return {name.removesuffix("_FILE") for name in named} - listed


def untagged_images(found: dict[str, Any]) -> list[str]:
    images = {name: service["image"] for name, service in found["services"].items()}
    return [name for name, image in images.items() if not re.search(r":[^/:]+$", image) or image.endswith(":latest")]


def published(found: dict[str, Any]) -> set[str]:
    return {name for name, service in found["services"].items() if service.get("ports")}


def literal_secrets(found: dict[str, Any]) -> list[str]:
    """Values that a name or an address with a password gives away as secret."""
    return [
        f"{name}: {variable}"
        for name, service in found["services"].items()
        for variable, value in service.get("environment", {}).items()
        if (re.search(r"PASSWORD|SECRET|_URL|IDENTITY", variable) and not variable.endswith("_FILE"))
        or re.search(r"://[^/]*:[^/]*@", str(value))
    ]


def careless_services(found: dict[str, Any]) -> list[str]:
    """Services without a health check, a limit of memory, a restart, a read-only root or a time to stop in."""
    return [
        name
        for name in ALWAYS_UP
        if not (
            (found["services"][name].get("healthcheck") or name.startswith("web-"))
            and found["services"][name]["deploy"]["resources"]["limits"]["memory"]
            and found["services"][name]["restart"] == "unless-stopped"
            and found["services"][name]["read_only"] is True
            and found["services"][name]["stop_grace_period"]
        )
    ]


def seconds(period: str) -> int:
    number, unit = int(period[:-1]), period[-1]
    return number * {"s": 1, "m": 60}[unit]


def hurried_services(found: dict[str, Any]) -> list[str]:
    """Services that Docker would kill while granian still lets requests in flight be answered."""
    asked = {name: found["services"][name] for name in OURS}
    granted = {name: re.search(r"--workers-kill-timeout (\d+)", one["command"][2]) for name, one in asked.items()}
    return [
        name
        for name, match in granted.items()
        if match is not None and seconds(asked[name]["stop_grace_period"]) <= int(match[1])
    ]


def starts_before_the_migration(found: dict[str, Any]) -> list[str]:
    wanted = {"condition": "service_completed_successfully"}
    return [name for name in OURS if found["services"][name]["depends_on"].get("migrate") != wanted]


CHECKS: dict[Callable[[dict[str, Any]], Any], Callable[[dict[str, Any]], Any]] = {
    invalid: lambda services: services["redis"].update(imgae="x", restart=1),
    unlike_the_procfile: lambda services: services["relay"]["command"].append("--once"),
    unlisted_variables: lambda services: services["beat"]["environment"].update(UNHEARD_OF="1"),
    untagged_images: lambda services: services["redis"].update(image="docker.io:5000/redis"),
    literal_secrets: lambda services: services["beat"]["environment"].update(SECRET_KEY="abc"),
    careless_services: lambda services: services["worker"].pop("healthcheck"),
    hurried_services: lambda services: services["web-2"].update(stop_grace_period="10s"),
    starts_before_the_migration: lambda services: services["worker"]["depends_on"].pop("migrate"),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_composition_has_none_of_these(check: Callable[[dict[str, Any]], Any]) -> None:
    assert not check(composition())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_each_check_finds_what_it_is_for(check: Callable[[dict[str, Any]], Any]) -> None:
    """Negative controls: a copy that is broken in one place."""
    broken = copy.deepcopy(composition())
    CHECKS[check](broken["services"])
    assert check(broken)


def test_nginx_alone_is_reached_from_outside() -> None:
    assert published(composition()) == {"nginx"}


def test_every_secret_is_a_file_that_is_made_or_asked_for() -> None:
    script = (TOP / "deploy/make-secrets.sh").read_text(encoding="utf-8")
    for secret in composition()["secrets"].values():
        assert Path(secret["file"]).name in script
    assert "/deploy/secrets/" in (TOP / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_every_variable_that_is_taken_from_the_shell_is_explained() -> None:
    taken = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")))
    explained = (TOP / "docs/operations/production.md").read_text(encoding="utf-8")
    assert {name for name in taken if f"`{name}`" not in explained} == set()


def test_nginx_lets_through_the_largest_upload_and_no_more() -> None:
    from platform_config.settings import base

    (mebibyte,) = re.findall(r"^FORM = (\d+ \* \d+)", (TOP / "platform_config/rsgi.py").read_text(), re.MULTILINE)
    form = int(mebibyte.split(" * ")[0]) * int(mebibyte.split(" * ")[1])
    (mebibytes,) = re.findall(r"client_max_body_size (\d+)m;", (TOP / "deploy/nginx/lyceum.conf").read_text())
    assert int(mebibytes) * 1024 * 1024 == max(base.ROSTER_UPLOAD_MAX_BYTES, base.TABLE_UPLOAD_MAX_BYTES) + form


# The image


def wrong_in(dockerfile: str) -> Iterator[str]:
    found = instructions(dockerfile)
    last = found[max(place for place, (name, _) in enumerate(found) if name == "FROM") :]
    users = [rest for name, rest in last if name == "USER"]
    if not users or users[-1].partition(":")[0] in ("root", "0"):
        yield "runs as root"
    if any(
        name == "RUN" and re.search(r"\bpip [^&|]* install ", rest) and "--require-hashes" not in rest
        for name, rest in found
    ):
        yield "installs without hashes"
    if any(name == "RUN" and re.search(r"pip\S* install|apt-get|gcc", rest) for name, rest in last):
        yield "installs in the last stage"
    if not any(name == "HEALTHCHECK" and "/health/ready" in rest for name, rest in last):
        yield "has no health check"
    if ("STOPSIGNAL", "SIGTERM") not in last:
        yield "is stopped by another signal"
    if any(name == "FROM" and ":" not in rest.split()[0] for name, rest in found):
        yield "begins with an image without a tag"
    for source in copied(dockerfile):
        if not (TOP / source).exists():
            yield f"copies {source}, which is not there"
        elif f"!{source}" not in (TOP / ".dockerignore").read_text(encoding="utf-8").splitlines():
            yield f"copies {source}, which .dockerignore leaves out"


def test_the_image_is_made_as_it_should_be() -> None:
    assert list(wrong_in(DOCKERFILE.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("whole", "broken", "complaint"),
    [
        ("USER 10001:10001", "USER root", "runs as root"),
        ("USER 10001:10001", "", "runs as root"),
        ("--require-hashes", "", "installs without hashes"),
        ("USER 10001", "RUN apt-get install -y gcc\nUSER 10001", "installs in the last stage"),
        ("/health/ready", "/", "has no health check"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "is stopped by another signal"),
        ("FROM python:3.11-slim\n", "FROM python\n", "begins with an image without a tag"),
        ("COPY tasks tasks", "COPY tsaks tasks", "copies tsaks, which is not there"),
        ("COPY tasks tasks", "COPY tests tests", "copies tests, which .dockerignore leaves out"),
    ],
)
def test_an_image_that_is_made_otherwise_is_found(whole: str, broken: str, complaint: str) -> None:
    dockerfile = DOCKERFILE.read_text(encoding="utf-8")
    assert whole in dockerfile
    assert complaint in list(wrong_in(dockerfile.replace(whole, broken)))
