"""The serializer that describes a declaration; `core.storing` writes what it lets through."""

from typing import Any

from django.db import models
from rest_framework import serializers

from shared_apps.core.api.bodies import RefusesUnknown


class TextField(serializers.CharField):
    """Text is text: REST framework's own field would take the number 5 for "5"."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class RecordSerializer(RefusesUnknown, serializers.ModelSerializer):
    """Describes a record; its fields type what a body holds (`parsing`). Rules of a row are the model's own."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.CharField: TextField,
        models.TextField: TextField,
    }

    def build_relational_field(self, field_name: str, relation_info: Any) -> tuple[type, dict[str, Any]]:
        kind, options = super().build_relational_field(field_name, relation_info)
        if not options.get("read_only"):
            options["pk_field"] = serializers.UUIDField()
        options.pop("validators", None)
        return kind, options

    def build_standard_field(self, field_name: str, model_field: models.Field) -> tuple[type, dict[str, Any]]:
        kind, options = super().build_standard_field(field_name, model_field)
        # Uniqueness is the database's to judge; DRF's validator would ask before, and again.
        options["validators"] = [v for v in options.get("validators", ()) if not hasattr(v, "queryset")]
        if not options["validators"]:
            options.pop("validators")
        return kind, options


def record_serializer(name: str, model: type[models.Model], fields: tuple[str, ...], fixed: tuple[str, ...]) -> Any:
    """The serializer class of a declaration; `fixed` fields are shown and never written."""
    meta = type("Meta", (), {"model": model, "fields": fields, "read_only_fields": fixed, "validators": []})
    return type(f"{name}Serializer", (RecordSerializer,), {"Meta": meta, "__module__": model.__module__})
