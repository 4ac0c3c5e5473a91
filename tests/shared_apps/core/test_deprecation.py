"""An address that will go says so in each of its answers and in the documentation."""

from collections.abc import Iterator
from datetime import date
from types import ModuleType
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import get_resolver, path
from drf_spectacular.generators import SchemaGenerator
from rest_framework.response import Response

from shared_apps.core.api import ANYONE, EVERYONE, Deprecation, PlatformView, ResourceViewSet, described, verb
from shared_apps.core.api.bodies import Body
from shared_apps.core.api.served import resources
from shared_apps.core.context import InstitutionContext
from tenant_apps.school.models import GradeLevel, Room
from tenant_apps.school.permissions import SchoolPermission
from tests import cast as casting
from tests.api import Asker, as_person, host_of

OLD = Deprecation(since=date(2026, 9, 1), sunset=date(2027, 9, 1), successor="/api/v2/school/rooms/")
HEADERS = {
    "Deprecation": "@1788220800",
    "Sunset": "Wed, 01 Sep 2027 00:00:00 GMT",
    "Link": '</api/v2/school/rooms/>; rel="successor-version"',
}


class Said(Body):
    pass


class OldView(PlatformView):
    """Says it the old way."""

    permission = ANYONE
    deprecated = OLD

    @described("Say it", answer=Said, value={})
    def get(self, request: Any) -> Response:
        return Response({})


@pytest.fixture
def old(settings: Any) -> Iterator[ModuleType]:
    """Throwaway resources at the addresses of an institution: one deprecated, and one with a deprecated verb."""
    known = list(resources)

    class OldRoomViewSet(ResourceViewSet):
        """Rooms, the old way."""

        queryset = Room.objects.all()
        permission = SchoolPermission.ROOM
        scopes = EVERYONE
        fields = ("campus", "name")
        deprecated = OLD

        @verb(action="change")
        def lock(self, record: Room) -> None:
            """Lock it."""

    class LevelViewSet(ResourceViewSet):
        """Levels, of which one verb will go."""

        queryset = GradeLevel.objects.all()
        permission = SchoolPermission.GRADE_LEVEL
        scopes = EVERYONE
        fields = ("name",)

        @verb(action="change", deprecated=OLD)
        def rise(self, record: GradeLevel) -> None:
            """Raise it."""

    real = get_resolver(settings.URLCONF_BY_KIND["institution"]).url_patterns
    urls = ModuleType("old_urls")
    urls.urlpatterns = [  # type: ignore[attr-defined]
        OldRoomViewSet.routes("api/v1/old/rooms/"),
        LevelViewSet.routes("api/v1/old/levels/"),
        path("api/v1/old/view/", OldView.as_view()),
        *real,
    ]
    settings.URLCONF_BY_KIND = {**settings.URLCONF_BY_KIND, "institution": urls}
    yield urls
    resources[:] = known


def announced(answer: HttpResponse) -> dict[str, str]:
    return {name: answer[name] for name in HEADERS if name in answer.headers}


def test_every_answer_of_a_deprecated_address_says_so(old: ModuleType, inside: InstitutionContext) -> None:
    cast = casting.of(inside)
    principal, nobody = as_person(inside, cast.principal), Asker(host_of(inside))
    room = Room.objects.get(pk=cast.id("room"))
    one = f"/api/v1/old/rooms/{room.pk}/"
    answers = [
        principal.get("/api/v1/old/rooms/"),
        principal.get("/api/v1/old/rooms/?nonsense=1"),
        principal.get(one),
        principal.get(one, HTTP_IF_NONE_MATCH="*"),
        principal.get("/api/v1/old/rooms/00000000-0000-7000-8000-000000000000/"),
        principal.patch(one, {"name": "Aula"}),
        principal.post(f"{one}lock/"),
        principal.get("/api/v1/old/rooms/export/?format=csv"),
        nobody.post("/api/v1/old/rooms/bulk/", {}),
        nobody.get(one),
        nobody.get("/api/v1/old/view/"),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 200, 304, 404, 200, 200, 200, 401, 401, 200]
    for answer in answers:
        assert announced(answer) == HEADERS, answer.content


def test_a_deprecated_verb_does_not_speak_for_its_resource(old: ModuleType, inside: InstitutionContext) -> None:
    cast = casting.of(inside)
    principal = as_person(inside, cast.principal)
    one = f"/api/v1/old/levels/{cast.id('grade 5')}/"
    assert announced(principal.post(f"{one}rise/")) == HEADERS
    assert announced(principal.get(one)) == announced(principal.get("/api/v1/old/levels/")) == {}


def test_the_documentation_says_so(old: ModuleType) -> None:
    ours = [pattern for pattern in old.urlpatterns if str(pattern.pattern).startswith("api/v1/old/")]
    paths = SchemaGenerator(patterns=ours).get_schema(request=None, public=True)["paths"]
    for address, method, wanted in (
        ("/api/v1/old/rooms/", "get", True),
        ("/api/v1/old/rooms/{id}/", "patch", True),
        ("/api/v1/old/rooms/{id}/lock/", "post", True),
        ("/api/v1/old/levels/", "get", False),
        ("/api/v1/old/levels/{id}/rise/", "post", True),
        ("/api/v1/old/view/", "get", True),
    ):
        operation = paths[address][method]
        assert operation.get("deprecated", False) is wanted, address
        assert (OLD.text in operation["description"]) is wanted, address


def test_nothing_is_gone_before_it_is_deprecated() -> None:
    with pytest.raises(ValueError, match="first"):
        Deprecation(since=date(2026, 9, 1), sunset=date(2026, 8, 31))
    assert "Link" not in Deprecation(since=date(2026, 9, 1), sunset=date(2026, 9, 1)).headers
