"""Writes of a resource: the serializer made from its declaration, and one way to store a row."""

from typing import Any

from django.db import models
from rest_framework import serializers

from shared_apps.core.api.bodies import RefusesUnknown
from shared_apps.core.errors import Conflict


class TextField(serializers.CharField):
    """Text is text: REST framework's own field would take the number 5 for "5"."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class RecordSerializer(RefusesUnknown, serializers.ModelSerializer):
    """Types the body's values. Rules of a row are the model's own (`full_clean`), so they hold for every writer."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.CharField: TextField,
        models.TextField: TextField,
    }

    def build_relational_field(self, field_name: str, relation_info: Any) -> tuple[type, dict[str, Any]]:
        """A reference that is no UUID is refused as one, before the database is asked."""
        kind, options = super().build_relational_field(field_name, relation_info)
        if not options.get("read_only"):
            options["pk_field"] = serializers.UUIDField()
        options.pop("validators", None)
        return kind, options

    def build_standard_field(self, field_name: str, model_field: models.Field) -> tuple[type, dict[str, Any]]:
        kind, options = super().build_standard_field(field_name, model_field)
        # Uniqueness is asked once, by full_clean; DRF's own validator would ask again.
        options["validators"] = [v for v in options.get("validators", ()) if not hasattr(v, "queryset")]
        if not options["validators"]:
            options.pop("validators")
        return kind, options


def record_serializer(name: str, model: type[models.Model], fields: tuple[str, ...], fixed: tuple[str, ...]) -> Any:
    """The serializer class of a declaration; `fixed` fields are shown and never written."""
    meta = type("Meta", (), {"model": model, "fields": fields, "read_only_fields": fixed, "validators": []})
    return type(f"{name}Serializer", (RecordSerializer,), {"Meta": meta, "__module__": model.__module__})


def discard(record: models.Model) -> None:
    """Delete a row. Raises Conflict, naming what still refers to it.

    Django would find the same by loading every such row: a campus may have a hundred thousand.
    """
    holding = [
        relation.related_model._meta.verbose_name_plural
        for relation in record._meta.related_objects
        if relation.on_delete in (models.PROTECT, models.RESTRICT)
        and relation.related_model._base_manager.filter(**{relation.field.name: record}).exists()
    ]
    if holding:
        names = ", ".join(sorted(map(str, holding)))
        raise Conflict(f"Still in use by {names}; remove or move those first.", code="in_use")
    record.delete()


def store(record: models.Model, *, changed: list[str] | None = None) -> None:
    """Check a row by its model's rules and write it; named columns only on a change."""
    record.full_clean()
    if changed is None:
        record.save(force_insert=True)
    else:
        stamps = [f.name for f in record._meta.concrete_fields if getattr(f, "auto_now", False)]
        record.save(update_fields=[*changed, *stamps])
