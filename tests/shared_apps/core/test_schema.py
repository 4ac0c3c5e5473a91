"""How a declaration becomes OpenAPI text; what is served is proved in tests/contract/test_schema.py."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from rest_framework import serializers

from shared_apps.core.api import ANYONE, EVERYONE, Body, PlatformView, ResourceViewSet, described, verb
from shared_apps.core.api.schema import EXAMPLE_ID, PROBLEM, _let_anything_be_null, _value, record_example
from shared_apps.core.api.served import resources
from tenant_apps.school.models import Campus, Room, Student
from tenant_apps.school.permissions import SchoolPermission

ROOMS = "/api/v1/school/rooms/"


class Paint(Body):
    colour = serializers.ChoiceField(choices=["green", "grey"])
    by = serializers.PrimaryKeyRelatedField(queryset=Campus.objects.all(), pk_field=serializers.UUIDField())
    on = serializers.DateField()
    at = serializers.DateTimeField()
    coats = serializers.IntegerField(min_value=2)
    cost = serializers.DecimalField(max_digits=8, decimal_places=2)
    told = serializers.EmailField()
    shiny = serializers.BooleanField()
    tins = serializers.ListField(child=serializers.CharField())
    note = serializers.CharField()


class Odd(PlatformView):
    permission = ANYONE

    @described("Say it", answer=Paint, value={})
    def get(self, request: Any) -> None:
        """Never called."""


@pytest.fixture
def document() -> Iterator[dict[str, Any]]:
    """Of a resource with a verb, and of a view whose address is odd."""
    known = list(resources)

    class PaintedRoomViewSet(ResourceViewSet):
        """Rooms that can be painted."""

        queryset = Room.objects.all()
        permission = SchoolPermission.ROOM
        scopes = EVERYONE
        fields = ("campus", "name", "capacity")
        example = {"name": "Aula", "capacity": None}
        read_only = ("capacity",)
        search = ("name",)
        actions = "view change"

        @verb(action="change", body=Paint)
        def paint_over(self, record: models.Model, **values: Any) -> None:
            """Paint the room."""

    odd = path("odd/.well-known.json", Odd.as_view())
    patterns = [PaintedRoomViewSet.routes(ROOMS.removeprefix("/")), odd]
    yield SchemaGenerator(patterns=patterns).get_schema(request=None, public=True)
    resources[:] = known


def test_a_resource_is_described_by_its_own_words(document: dict[str, Any]) -> None:
    assert set(document["paths"]) >= {ROOMS, f"{ROOMS}{{id}}/", f"{ROOMS}{{id}}/paint-over/", "/odd/.well-known.json"}
    listed = document["paths"][ROOMS]
    assert set(listed) == {"get"}
    assert listed["get"]["description"].startswith("Rooms that can be painted.")
    assert "school.view_room" in listed["get"]["description"]
    assert set(document["paths"][f"{ROOMS}{{id}}/"]) == {"get", "put", "patch"}
    assert listed["get"]["tags"] == ["school"]


def test_names_of_operations_are_names_in_every_language(document: dict[str, Any]) -> None:
    found = {m["operationId"] for methods in document["paths"].values() for m in methods.values()}
    assert all(name.isidentifier() for name in found)
    assert found >= {
        "school_rooms_list",
        "school_rooms_retrieve",
        "school_rooms_replace",
        "school_rooms_change",
        "school_rooms_paint_over",
        "odd_well_known_json_retrieve",
    }


def test_a_verbs_body_carries_the_room_and_an_example(document: dict[str, Any]) -> None:
    painted = document["paths"][f"{ROOMS}{{id}}/paint-over/"]["post"]
    assert painted["summary"] == "Paint the room."
    content = painted["requestBody"]["content"]["application/json"]
    assert content["schema"]["$ref"].endswith("/SchoolPaintRequest")
    (example,) = content["examples"].values()
    assert example["value"] == {
        "colour": "green",
        "by": EXAMPLE_ID,
        "on": "2026-09-01",
        "at": "2026-09-01T08:00:00+00:00",
        "coats": 2,
        "cost": "12.50",
        "told": "amelie@lumiere.test",
        "shiny": True,
        "tins": [],
        "note": "Text",
    }


def test_the_example_of_a_record_is_the_declared_one_where_there_is_one(document: dict[str, Any]) -> None:
    (example,) = document["paths"][f"{ROOMS}{{id}}/"]["get"]["responses"]["200"]["content"]["application/json"][
        "examples"
    ].values()
    assert example["value"]["name"] == "Aula"
    assert example["value"]["capacity"] is None
    assert example["value"]["campus"] == EXAMPLE_ID
    (sent,) = document["paths"][f"{ROOMS}{{id}}/"]["patch"]["requestBody"]["content"]["application/json"][
        "examples"
    ].values()
    assert set(sent["value"]) == {"campus", "name"}


def test_every_kind_of_column_has_an_example() -> None:
    shown = {field.name: _value(field) for field in Student._meta.concrete_fields}
    assert shown["state"] == "applied"
    assert shown["nationality"] == ""
    assert shown["sourced_id"] is None
    assert shown["birth_date"] == "2026-09-01"
    assert _value(models.DecimalField()) == "12.50"
    assert _value(models.JSONField()) == {}
    assert _value(models.CharField(default="UTC")) == "UTC"


def test_an_example_ends_after_it_has_begun() -> None:
    """The naive way: one day for all, which the tables refuse (`ends_before_start`) when it is sent."""
    from tenant_apps.school.api import AcademicYearViewSet, StudentViewSet

    year = record_example(AcademicYearViewSet())
    assert year["starts_on"] < year["ends_on"]
    student = record_example(StudentViewSet())
    assert (student["state"], student["left_on"]) == ("enrolled", None)


def test_a_json_column_that_may_be_null_takes_null() -> None:
    schema = {"a": {"oneOf": [{}, {"type": "null"}], "readOnly": True}, "b": {"oneOf": [{"type": "string"}]}}
    _let_anything_be_null(schema)
    assert schema == {"a": {"readOnly": True}, "b": {"oneOf": [{"type": "string"}]}}


def test_the_documented_problem_is_the_one_that_is_sent() -> None:
    from shared_apps.core.errors import Invalid

    body = Invalid.at("/a", "No.").body("x")
    assert set(body) == set(PROBLEM["required"]) == set(PROBLEM["properties"])
    assert set(body["errors"][0]) == set(PROBLEM["properties"]["errors"]["items"]["required"])


def test_an_example_shows_all_columns_of_the_record() -> None:
    from tenant_apps.school.api import StudentViewSet

    assert tuple(record_example(StudentViewSet())) == StudentViewSet.all_fields
