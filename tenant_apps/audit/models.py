"""The log of changes. Triggers write it, the sealer chains it, nothing else touches it (docs/domain/audit.md)."""

from typing import Any

from django.db import models
from django.db.models import Q


class VerbatimJson(models.JSONField):
    """JSON kept as the text that was hashed; `jsonb` would write it anew."""

    def db_type(self, connection: Any) -> str:
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value


class Entry(models.Model):
    """One change of one row.

    `before` and `after` hold the whole row of a deletion and a creation, and of a change only the columns that differ;
    secrets are masked. `digest` is SHA-256 over `salt` and the payload (name, address, before, after). `seq` and `link`
    are the sealer's: `link` is SHA-256 over the link before it, the digest and the rest of the entry. Erasing a payload
    takes the salt with it, so the digest tells nothing any more and the chain still holds.

    `id` is a UUIDv7 of the change's microsecond, so entries in the order of ids are in the order of their making.
    """

    class Operation(models.TextChoices):
        CREATE = "create"
        CHANGE = "change"
        DELETE = "delete"
        TRUNCATE = "truncate"
        ERASE = "erase"

    id = models.UUIDField(primary_key=True, editable=False)
    at = models.DateTimeField(editable=False)
    actor_kind = models.CharField(max_length=10, editable=False)
    actor_id = models.UUIDField(null=True, editable=False)
    actor_name = models.CharField(max_length=200, blank=True, editable=False)
    address = models.CharField(max_length=64, blank=True, editable=False)
    request_id = models.CharField(max_length=64, blank=True, editable=False)
    table_name = models.CharField(max_length=63, editable=False)
    row_key = models.CharField(max_length=64, editable=False)
    operation = models.CharField(max_length=10, choices=Operation, editable=False)
    before = VerbatimJson(null=True, editable=False)
    after = VerbatimJson(null=True, editable=False)
    transaction_id = models.BigIntegerField(editable=False)
    salt = models.BinaryField(null=True, editable=False)
    digest = models.BinaryField(editable=False)
    seq = models.PositiveBigIntegerField(null=True, editable=False)
    link = models.BinaryField(null=True, editable=False)
    erased_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ("-id",)
        verbose_name_plural = "entries"
        indexes = [
            models.Index(fields=("table_name", "row_key", "id"), name="audit_entry_row"),
            models.Index(fields=("id",), condition=Q(seq__isnull=True), name="audit_entry_unsealed"),
            models.Index(fields=("table_name", "id"), condition=Q(operation="delete"), name="audit_entry_deleted"),
            models.Index(fields=("transaction_id",), condition=Q(operation="delete"), name="audit_entry_together"),
        ]
        constraints = [
            models.UniqueConstraint(fields=("seq",), condition=Q(seq__isnull=False), name="audit_entry_seq"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.table_name} {self.row_key}"
