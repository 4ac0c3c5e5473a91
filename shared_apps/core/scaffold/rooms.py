"""A new room of the institutions: its files, its floor, its place among the apps and under /api/v1/."""

import re

from django.core.management.base import CommandError

from shared_apps.core.scaffold.tree import Tree

APPS = """from django.apps import AppConfig

from shared_apps.core.registry import registry


class {title}Config(AppConfig):
    name = "tenant_apps.{room}"
    label = "{room}"

    def ready(self) -> None:
        from tenant_apps.{room}.permissions import {title}Permission

        for subject in {title}Permission:
            registry.grant("principal", subject, " ".join(subject.actions))
"""
PERMISSIONS = '''"""What can be done to the things of this room."""

from shared_apps.core.permissions import PermissionCatalogue


class {title}Permission(PermissionCatalogue):
    """Members are made by `subject`."""
'''
MODELS = '"""The tables of this room."""\n'
API = '''"""/api/v1/{room}/."""

from shared_apps.core.api import ResourceViewSet

routes: dict[str, type[ResourceViewSet]] = {{}}
'''


def start_room(tree: Tree, room: str, *, neighbour: str, above: bool) -> None:
    """Make the room, on the floor of `neighbour` or on one of its own right above it. Raises CommandError."""
    if tree.room(room).exists() and not (tree.room(room) / "permissions.py").exists():
        raise CommandError(f"tenant_apps/{room} is there already, and is none of this form.")
    standing = any(room in names for names in tree.floors())
    if not standing:
        tree.floor_of(neighbour)
    folder, words = tree.room(room), {"room": room, "title": room.capitalize()}
    for name, text in (("apps", APPS), ("permissions", PERMISSIONS), ("models", MODELS), ("api", API)):
        if not (name == "models" and (folder / "models").is_dir()):
            tree.create(folder / f"{name}.py", text.format(**words))
    for path in (folder / "__init__.py", folder / "migrations/__init__.py"):
        tree.create(path, "")
    tree.create(tree.top / "tests/tenant_apps" / room / "__init__.py", "")
    if not standing:
        _stand(tree, room, neighbour, above=above)
    settings = tree.top / "platform_config/settings/base.py"
    tree.insert(
        settings, f'\n    "tenant_apps.{room}",', after=r'^    "tenant_apps\.\w+",', sign=f'"tenant_apps.{room}"'
    )
    routes = tree.top / "platform_config/api_v1.py"
    import_line = f"from tenant_apps.{room} import api as {room}"
    tree.insert(routes, f"\n{import_line}", after=r"^from tenant_apps\.\w+ import api as \w+", sign=import_line)
    route = f'*room("{room}/", {room}.routes)'
    tree.insert(routes, f"\n    {route},", after=r'^    \*room\("\w+/", \w+\.routes\),', sign=route)
    schema = tree.top / "tests/contract/test_schema.py"
    tree.insert(schema, f'    "{room.capitalize()}",\n', after=r"^ROOMS = \(\n", sign=f'"{room.capitalize()}",')
    tree.tidy(folder, routes, settings, schema)


def _stand(tree: Tree, room: str, neighbour: str, *, above: bool) -> None:
    path = tree.top / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    start = text.index('containers = ["tenant_apps"]')
    layer = re.compile(rf'^    "([^"\n]*\b{neighbour}\b[^"\n]*)",$', re.MULTILINE).search(text, start)
    if layer is None:
        raise CommandError("pyproject.toml has another form than the house's: set the floor by hand.")
    new = f'    "{room}",\n{layer[0]}' if above else f'    "{layer[1]} | {room}",'
    path.write_text(text[: layer.start()] + new + text[layer.end() :], encoding="utf-8")
    tree.done.append(f"set {room} {'above' if above else 'beside'} {neighbour} in pyproject.toml")
