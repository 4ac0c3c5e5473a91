"""Institutions and the hosts that lead to them. These tables stand in the public schema."""

import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

from shared_apps.core.context import InstitutionContext, Kind, State, WrongContext
from shared_apps.core.models import Record

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


def new_schema_name() -> str:
    """An opaque name: a schema is never renamed, whatever the institution is called later."""
    return "t_" + "".join(secrets.choice(ALPHABET) for _ in range(12))


class Tenant(TenantMixin, Record):
    """One institution, or the operators' own tenant."""

    auto_create_schema = False

    schema_name = models.CharField(max_length=20, unique=True, default=new_schema_name, editable=False)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=[(k, k) for k in Kind], default=Kind.INSTITUTION)
    state = models.CharField(max_length=20, choices=[(s, s) for s in State], default=State.PROVISIONING)
    # What was ordered; billing will make limits of it.
    plan = models.SlugField(max_length=50, blank=True)
    state_reason = models.CharField(max_length=300, blank=True)
    state_changed_at = models.DateTimeField(auto_now_add=True)
    # Which of the template's rows (permissions, roles) it has, and why the last migration was not applied.
    template_rows = models.CharField(max_length=64, blank=True, editable=False)
    migration_error = models.TextField(blank=True, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("kind",), condition=models.Q(kind=Kind.OPERATOR), name="tenants_tenant_one_operator"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def __enter__(self) -> Any:
        # django-tenants keeps its stack on the class: two threads would swap institutions.
        raise WrongContext("`with tenant:` is banned: enter core.context.institution(tenant.context).")

    @property
    def primary_domain(self) -> "Domain":
        return min(self.domains.all(), key=lambda domain: (not domain.is_primary, domain.created_at))

    @property
    def context(self) -> InstitutionContext:
        """What runs inside this institution knows of it."""
        return self.context_in(self.schema_name)

    def context_in(self, schema_name: str) -> InstitutionContext:
        """The context of this institution in a schema that is not (yet) the one it is served from."""
        return InstitutionContext(
            id=self.pk,
            schema_name=schema_name,
            slug=self.primary_domain.slug,
            name=self.name,
            kind=self.kind,
            state=self.state,
        )


class Domain(DomainMixin, Record):
    """A host that leads to an institution: `<slug>.<platform domain>`, or a domain of its own."""

    slug = models.CharField(max_length=63, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=("slug",), condition=~models.Q(slug=""), name="tenants_domain_slug")
        ]


class SchemaTemplate(Record):
    """The schema that new institutions are copies of, and its dump (shared_apps.tenants.template). There is one."""

    schema_name = models.CharField(max_length=30, unique=True)
    dump = models.TextField(blank=True)
    rows = models.CharField(max_length=64, blank=True)
    fingerprint = models.CharField(max_length=32, blank=True)

    class Meta:
        default_permissions = ()


class Backup(Record):
    """One backup of an institution that was written whole. `file` lies below BACKUP_DIR; `size` is in bytes."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="backups")
    made_at = models.DateTimeField()
    file = models.CharField(max_length=200, unique=True)
    size = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        ordering = ("-made_at", "-id")

    @property
    def path(self) -> Path:
        return Path(settings.BACKUP_DIR) / self.file


class KeptSchema(Record):
    """A schema that no request reaches: `restoring` (being filled), or put aside by a restore or its undoing."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="kept_schemas")
    schema_name = models.CharField(max_length=20, unique=True)
    reason = models.CharField(max_length=20)
    kept_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
