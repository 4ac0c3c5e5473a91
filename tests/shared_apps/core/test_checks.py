"""What would make the platform unsafe stops every kind of start, with a message that names it."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.core.checks import Error, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import models
from django.http import HttpResponse
from django.urls import path
from django.views import View
from rest_framework.permissions import AllowAny
from rest_framework.views import APIView

from shared_apps.core import checks
from shared_apps.core.api import (
    ANYONE,
    CONTAINS,
    EVERYONE,
    EXACT,
    REGISTERED,
    SIGNED_IN,
    Own,
    PlatformView,
    ResourceViewSet,
)
from shared_apps.core.api.served import resources
from shared_apps.core.context import platform
from shared_apps.core.permissions import PermissionCatalogue, Scope, subject
from shared_apps.core.registry import registry
from tenant_apps.school.models import Room, Student
from tenant_apps.school.permissions import SchoolPermission

TOP = Path(__file__).resolve().parents[3]


def found(*, tag: str = "lyceum") -> list[Error]:
    return [message for message in run_checks(tags=[tag]) if isinstance(message, Error)]


def ids() -> set[str | None]:
    return {error.id for error in found()}


@pytest.fixture
def serve(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a view the only one of a fourth kind of host."""

    def serve(view: Any, route: str = "api/v1/odd/") -> None:
        urlconf = ModuleType("odd_urls")
        urlconf.urlpatterns = view if isinstance(view, list) else [path(route, view)]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "odd_urls", urlconf)
        settings.URLCONF_BY_KIND = {**settings.URLCONF_BY_KIND, "odd": urlconf}

    return serve


@pytest.fixture
def declare() -> Iterator[Callable[..., type[ResourceViewSet]]]:
    """Declares a resource over rooms that is forgotten afterwards."""
    known = list(resources)

    def declare(**words: Any) -> type[ResourceViewSet]:
        declared = {
            "queryset": Room.objects.all(),
            "permission": SchoolPermission.ROOM,
            "scopes": EVERYONE,
            "fields": ("campus", "name", "capacity"),
        }
        return type("OddViewSet", (ResourceViewSet,), {**declared, **words})

    yield declare
    resources[:] = known


def messages(check_id: str) -> str:
    return " ".join(error.msg for error in found() if error.id == check_id)


def test_the_platform_as_it_is_passes_every_check() -> None:
    assert found() == []


# Apps and tables


def test_an_app_in_both_lists_is_refused(settings: LazySettings) -> None:
    settings.TENANT_APPS = [*settings.TENANT_APPS, "shared_apps.core"]
    assert "lyceum.E001" in ids()


def test_an_app_in_neither_list_is_refused(settings: LazySettings) -> None:
    settings.SHARED_APPS = [name for name in settings.SHARED_APPS if name != "channels"]
    assert "channels" in messages("lyceum.E002")


@pytest.fixture
def odd_models(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds models to what `apps.get_models` lists; they are registered nowhere else."""

    def add(*models_: type[models.Model]) -> None:
        real = apps.get_models
        monkeypatch.setattr(apps, "get_models", lambda *a, **k: [*real(*a, **k), *models_])

    return add


@pytest.fixture
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models of a test do not stay in the registry of apps."""
    monkeypatch.setattr(apps, "register_model", lambda *_: None)
    monkeypatch.setattr(apps, "do_pending_operations", lambda *_: None)


def test_a_model_with_djangos_default_permissions_is_refused(unregistered: None, odd_models: Any) -> None:
    class Odd(models.Model):
        __module__ = "tenant_apps.school.models"

        class Meta:
            app_label = "school"

    odd_models(Odd)
    assert "school.Odd" in messages("lyceum.E003")


def test_a_foreign_key_between_public_and_an_institution_is_refused(unregistered: None, odd_models: Any) -> None:
    class Crossing(models.Model):
        student = models.ForeignKey(Student, on_delete=models.CASCADE, related_name="+")

        class Meta:
            app_label = "tenants"
            default_permissions = ()

    class WithoutConstraint(models.Model):
        student = models.ForeignKey(Student, on_delete=models.CASCADE, related_name="+", db_constraint=False)

        class Meta:
            app_label = "tenants"
            default_permissions = ()

    odd_models(Crossing, WithoutConstraint)
    assert messages("lyceum.E004").count("crosses") == 1


# Views


class Undeclared(PlatformView):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse()


class Nothing(Undeclared):
    permission = None  # type: ignore[assignment]


class OpenedAgain(Undeclared):
    permission = SIGNED_IN
    permission_classes = [AllowAny]


class NothingForPost(Undeclared):
    permission = SIGNED_IN
    permission_by_method = {"POST": None}  # type: ignore[dict-item]


class Foreign(APIView):
    permission = SchoolPermission.ROOM.code("view")


class Stock(View):
    permission = ANYONE


def a_page(request: Any) -> HttpResponse:
    return HttpResponse()


def a_guarded_page(request: Any) -> HttpResponse:
    return HttpResponse()


a_guarded_page.permission = SchoolPermission.ROOM.code("view")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "view",
    [
        Undeclared.as_view(),
        Nothing.as_view(),
        NothingForPost.as_view(),
        OpenedAgain.as_view(),
        Foreign.as_view(),
        Stock.as_view(),
        a_page,
        a_guarded_page,
    ],
    ids=["undeclared", "none", "none for POST", "AllowAny", "not the kit's", "stock view", "function", "guarded"],
)
def test_a_view_whose_permission_nobody_enforces_is_refused(serve: Callable[..., None], view: Any) -> None:
    serve(view)
    assert "/api/v1/odd/" in messages("lyceum.E005")


def test_a_view_of_the_kit_that_declares_is_accepted(serve: Callable[..., None]) -> None:
    """The control of the test above."""

    class Fine(Undeclared):
        permission = SIGNED_IN
        permission_by_method = {"POST": SchoolPermission.ROOM.code("add")}

    serve(Fine.as_view())
    assert found() == []


def test_a_permission_that_nobody_asks_for_is_refused() -> None:
    class OddPermission(PermissionCatalogue):
        GHOST = subject("school", "ghost", "ghosts", "view")

    assert "school.view_ghost" in messages("lyceum.E006")
    del OddPermission
    gc.collect()
    assert found() == []


# Resources


@pytest.mark.parametrize("word", ["queryset", "permission", "scopes", "fields"])
def test_a_resource_that_leaves_a_word_out_cannot_be_made(declare: Callable[..., Any], word: str) -> None:
    with pytest.raises(TypeError, match=f"declares no {word}"):
        declare(**{word: None})


def test_a_resource_that_nobody_could_read_cannot_be_made(declare: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="view"):
        declare(actions="add change")
    with pytest.raises(ValueError, match="nonsense"):
        declare(actions="view nonsense")


def test_an_action_that_the_catalogue_does_not_know_stops_the_start(
    declare: Callable[..., Any], serve: Callable[..., None]
) -> None:
    serve([declare(actions="view publish").routes("api/v1/odd/")])
    with pytest.raises(ValueError, match="no action publish"):
        found()


def test_a_scope_that_no_room_has_registered_is_refused(declare: Callable[..., Any]) -> None:
    assert (Room, Scope.SECTION) not in registry.scopes
    declare(scopes={Scope.SECTION: REGISTERED})
    assert "section" in messages("lyceum.E007")


@pytest.mark.parametrize("fields", [("name", "nonsense"), ("sections",)], ids=["unknown", "of many rows"])
def test_a_field_that_is_no_column_is_refused(declare: Callable[..., Any], fields: tuple[str, ...]) -> None:
    declare(fields=fields)
    assert fields[-1] in messages("lyceum.E008")


@pytest.mark.parametrize("relation", ["nonsense", "name", "sections", "campus"])
def test_a_relation_that_cannot_be_included_is_refused(declare: Callable[..., Any], relation: str) -> None:
    """The last is a relation, and is not shown."""
    declare(fields=("name",), includes=(relation,))
    assert relation in messages("lyceum.E011")


def test_a_search_of_other_columns_than_the_stored_text_is_refused(declare: Callable[..., Any]) -> None:
    declare(queryset=Student.objects.all(), fields=("given_name",), search=("given_name",))
    assert "search_text" in messages("lyceum.E012")


def test_an_ordering_by_a_hidden_column_is_refused(declare: Callable[..., Any]) -> None:
    """A cursor could not name the row that it stands after."""
    declare(fields=("name",), orderable=("capacity",))
    assert "capacity" in messages("lyceum.E009")
    declare(fields=("name",), ordering=("-nonsense",))
    assert "nonsense" in messages("lyceum.E009")


@pytest.mark.parametrize(
    "words",
    [
        {"filters": {"nonsense": EXACT}},
        {"filters": {"campus__nonsense": EXACT}},
        {"filters": {"sections__code": EXACT}},
        {"search": ("name", "nonsense")},
        {"search": ("campus__students__family_name",)},
        {"scopes": {Scope.CAMPUS: "nonsense"}},
        {"scopes": {Scope.CAMPUS: "name__deeper"}},
        {"scopes": Own("nonsense")},
        {"scopes": {Scope.SELF: "sections__section_teachers__staff__user"}},
    ],
    ids=str,
)
def test_a_path_that_leads_nowhere_or_to_many_rows_is_refused(
    declare: Callable[..., Any], words: dict[str, Any]
) -> None:
    declare(**words)
    assert "lyceum.E010" in ids()


def test_a_resource_that_declares_well_is_accepted(declare: Callable[..., Any]) -> None:
    """The control of the tests above."""
    declare(
        filters={"campus__name": CONTAINS},
        search=("name", "campus__name"),
        ordering=("name",),
        scopes={Scope.CAMPUS: "campus"},
    )
    assert found() == []


# Starts

UNSAFE_SETTINGS = """
from platform_config.settings.test import *
from django.http import HttpResponse
from django.urls import path
import sys, types
odd = types.ModuleType("odd_urls")
odd.urlpatterns = [path("open/", lambda request: HttpResponse())]
sys.modules["odd_urls"] = odd
URLCONF_BY_KIND = {**URLCONF_BY_KIND, "odd": "odd_urls"}
"""
STARTS = {
    "wsgi": ("-c", "import platform_config.wsgi"),
    "asgi": ("-c", "import platform_config.asgi"),
    "check": ("manage.py", "check"),
    "worker": ("-m", "celery", "-A", "tasks.app:app", "worker", "--pool", "solo"),
    "beat": ("-m", "celery", "-A", "tasks.app:app", "beat", "--pidfile="),
    "granian": ("-m", "granian", "--interface", "rsgi", "--port", "0", "platform_config.rsgi:application"),
}


def start(directory: Path, words: tuple[str, ...], module: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": module, "PYTHONPATH": f"{directory}:{TOP}"}
    return subprocess.Popen(
        [sys.executable, *words], cwd=TOP, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_no_process_starts_with_a_view_that_declares_no_permission(tmp_path: Path) -> None:
    (tmp_path / "unsafe_settings.py").write_text(UNSAFE_SETTINGS)
    started = {name: start(tmp_path, words, "unsafe_settings") for name, words in STARTS.items()}
    try:
        for name, process in started.items():
            said, _ = process.communicate(timeout=60)
            assert process.returncode not in (0, None), (name, said)
            assert "lyceum.E005" in said, (name, said)
            assert "/open/" in said, (name, said)
            assert name == "check" or "Traceback" not in said, (name, said)
    finally:
        for process in started.values():
            process.kill()


def test_the_same_processes_start_with_the_settings_as_they_are(tmp_path: Path) -> None:
    """The control: nothing but the view stopped them."""
    for process in [start(tmp_path, STARTS[name], "platform_config.settings.test") for name in ("wsgi", "asgi")]:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said


def test_the_check_command_fails_with_a_bad_declaration(serve: Callable[..., None]) -> None:
    serve(a_page)
    with platform(), pytest.raises(SystemCheckError, match=r"lyceum\.E005"):
        call_command("check")


def test_a_silenced_check_stops_nothing(serve: Callable[..., None], settings: LazySettings) -> None:
    serve(a_page)
    with pytest.raises(SystemExit, match=r"lyceum\.E005: .*odd"):
        checks.demand_safe_start()
    settings.SILENCED_SYSTEM_CHECKS = ["lyceum.E005"]
    checks.demand_safe_start()
