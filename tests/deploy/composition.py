"""docker-compose.prod.yml, the Dockerfile and the Procfile, as the tests read them."""

import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from honcho.environ import parse_procfile

TOP = Path(__file__).resolve().parents[2]
COMPOSE = TOP / "docker-compose.prod.yml"
DOCKERFILE = TOP / "deploy/Dockerfile"


def composition() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def procfile() -> dict[str, str]:
    return dict(parse_procfile((TOP / "Procfile").read_text(encoding="utf-8")).processes)


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction and its arguments, comments out, continued lines joined."""
    bare = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    words = (line.split(maxsplit=1) for line in bare.splitlines() if line.strip())
    return [(name.upper(), rest) for name, rest in words]


def copied(dockerfile: str) -> list[str]:
    """Paths that the image takes from the tree."""
    found = [rest.split() for name, rest in instructions(dockerfile) if name == "COPY" and "--from=" not in rest]
    return [source for *sources, _ in found for source in sources]


def image_environment(dockerfile: str) -> dict[str, str]:
    pairs = (pair.partition("=") for name, rest in instructions(dockerfile) if name == "ENV" for pair in rest.split())
    return {name: value for name, _, value in pairs}


def make_image(target: Path) -> None:
    """What the image's working directory holds: what is copied, without what .dockerignore leaves out."""
    target.mkdir()
    for source in copied(DOCKERFILE.read_text(encoding="utf-8")):
        path = TOP / source
        if source.startswith("requirements/"):
            continue
        if path.is_file():
            shutil.copy(path, target / path.name)
        else:
            shutil.copytree(path, target / source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for line in (TOP / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "!", "*")):
            shutil.rmtree(target / line)
