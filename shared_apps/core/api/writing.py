"""One way to store a row and one to remove it; and the serializer that describes a declaration."""

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import DatabaseError, DataError, IntegrityError, models, transaction
from rest_framework import serializers

from shared_apps.core.api.bodies import RefusesUnknown
from shared_apps.core.errors import Conflict
from shared_apps.core.problems import refusal


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


def discard(record: models.Model) -> None:
    """Delete a row. Raises Conflict, naming what still refers to it."""
    held = in_use([record])
    if record.pk in held:
        raise Conflict(held[record.pk], code="in_use")
    record.delete()


def in_use(records: list[Any]) -> dict[Any, str]:
    """Of these rows of one model, those that others still refer to, with the reason: one query for each relation.

    Django would find the same by loading every such row: a campus may have a hundred thousand.
    """
    holding: dict[Any, list[str]] = {}
    for relation in records[0]._meta.related_objects if records else ():
        if relation.on_delete not in (models.PROTECT, models.RESTRICT):
            continue
        column = relation.field.attname
        rows = relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": records})
        for key in rows.values_list(column, flat=True).distinct():
            holding.setdefault(key, []).append(str(relation.related_model._meta.verbose_name_plural))
    return {
        key: f"Still in use by {', '.join(sorted(names))}; remove or move those first."
        for key, names in holding.items()
    }


def check(record: models.Model) -> None:
    """The rules that a row can be judged by alone: its columns' and its model's `clean`. Raises ValidationError.

    Records that it refers to have been found already; what other rows forbid is said by the database when it is stored.
    """
    errors: dict[str, Any] = {}
    references = [f.name for f in record._meta.concrete_fields if isinstance(f, models.ForeignKey)]
    for rule in (lambda: record.clean_fields(exclude=references), record.clean):
        try:
            rule()
        except ValidationError as refused:
            errors = refused.update_error_dict(errors)
    if errors:
        raise ValidationError(errors)


def store(record: models.Model, *, changed: list[str] | None = None) -> None:
    """Check a row and write it; named columns only on a change. Raises ValidationError.

    Uniqueness and the like are not asked for before: the database judges them when it writes, without a race, and only
    a row that it refuses is put to the model's own rules, which know how to say why.
    """
    check(record)
    try:
        with transaction.atomic():
            if changed is None:
                record.save(force_insert=True)
            else:
                record.save(update_fields=[*changed, *stamps_of(record)])
    except (IntegrityError, DataError) as refused:
        explain(record, refused)


def stamps_of(record: models.Model | type[models.Model]) -> list[str]:
    """The columns that every change sets to its time."""
    return [f.name for f in record._meta.concrete_fields if getattr(f, "auto_now", False)]


def explain(record: models.Model, refused: DatabaseError) -> None:
    """Raise what the model says of a row that the database has refused; else the refusal as it stands.

    Checks come first: days that end before they begin make no range, and asking for overlaps with them is an error.
    """
    for constraint in record._meta.constraints:
        if isinstance(constraint, models.CheckConstraint):
            try:
                constraint.validate(type(record), record)
            except ValidationError as broken:
                raise ValidationError({NON_FIELD_ERRORS: broken}) from refused
    record.full_clean()
    raise refusal(refused) or refused
