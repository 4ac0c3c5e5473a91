"""Institutions and the hosts that lead to them. These tables stand in the public schema."""

import secrets
from typing import Any

from django.db import models
from django.db.models.functions import Lower
from django_tenants.models import DomainMixin, TenantMixin

from shared_apps.core.context import InstitutionContext, Kind, State, WrongContext
from shared_apps.core.models import Record
from shared_apps.tenants.plans import limits_of

WITHOUT_SCHEMA = (State.PROVISIONING, State.DELETING, State.DELETED)
"""States in which the schema is not there, or not whole."""
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
    # What was ordered, and what an operator allows beside it (entitlements.py): limit -> number, null for unlimited.
    plan = models.SlugField(max_length=50, blank=True)
    entitlements = models.JSONField(default=dict, blank=True, editable=False)
    state_reason = models.CharField(max_length=300, blank=True)
    state_changed_at = models.DateTimeField(auto_now_add=True)
    # Which of the template's rows (permissions, roles) it has, and why the last migration was not applied.
    template_rows = models.CharField(max_length=64, blank=True, editable=False)
    migration_error = models.TextField(blank=True, editable=False)
    # What was said when it was ordered (registry.NewInstitution), while it is being made: one that was killed is begun
    # again with the same words. Empty once it is made.
    ordered = models.JSONField(default=dict, editable=False)
    # What its making is at, for whoever waits for it.
    step = models.CharField(max_length=60, blank=True, editable=False)

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

    def _check_schema_name_is_unique(self) -> None:
        """django-tenants reads all institutions for a name that differs in case alone; ours are made in lower case,
        and the column is unique."""

    def __enter__(self) -> Any:
        # django-tenants keeps its stack on the class: two threads would swap institutions.
        raise WrongContext("`with tenant:` is banned: enter core.context.institution(tenant.context).")

    @property
    def slug(self) -> str:
        """The first label of its host on the platform; empty once it is deleted."""
        return next((domain.slug for domain in self.domains.all() if domain.slug), "")

    @property
    def host(self) -> str:
        """The host that it is known by; empty once it is deleted."""
        known = sorted(self.domains.all(), key=lambda domain: (not domain.is_primary, domain.created_at))
        return known[0].domain if known else ""

    @property
    def context(self) -> InstitutionContext:
        """What runs inside this institution knows of it."""
        return self.context_in(self.schema_name)

    def context_in(self, schema_name: str) -> InstitutionContext:
        """The context of this institution in a schema that is not (yet) the one it is served from."""
        return InstitutionContext(
            id=self.pk,
            schema_name=schema_name,
            slug=self.slug,
            name=self.name,
            kind=self.kind,
            state=self.state,
            limits=limits_of(kind=self.kind, own=self.entitlements, plan=self.plan),
        )


class Domain(DomainMixin, Record):
    """A host that leads to an institution: `<slug>.<platform domain>`, or a domain of its own."""

    slug = models.CharField(max_length=63, blank=True)
    # What the slug looks like to a hasty reader (slugs.looks): two institutions never look alike.
    looks = models.CharField(max_length=63, blank=True, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ("created_at", "id")
        constraints = [
            models.UniqueConstraint(fields=("slug",), condition=~models.Q(slug=""), name="tenants_domain_slug"),
            models.UniqueConstraint(fields=("looks",), condition=~models.Q(looks=""), name="tenants_domain_looks"),
            models.CheckConstraint(condition=models.Q(domain=Lower("domain")), name="tenants_domain_lower"),
        ]


class DomainClaim(Record):
    """A domain that an institution says is its own, until DNS proves it: no request is answered by a claim, and any
    number of institutions may claim the same one."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="claims")
    domain = models.CharField(max_length=253)
    token = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()
        ordering = ("created_at", "id")
        constraints = [models.UniqueConstraint(fields=("tenant", "domain"), name="tenants_domainclaim_once")]


class ReleasedHost(Record):
    """A host that an institution gave up. Until `free_at` nobody else gets it: links, cookies and mail of the former
    holder's people still point there."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="released_hosts")
    host = models.CharField(max_length=253, unique=True)
    looks = models.CharField(max_length=63, blank=True)
    free_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "-id")


class Transition(Record):
    """One thing that was done to an institution: who, when, why, and its state before and after. Never changed."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="transitions")
    verb = models.CharField(max_length=40)
    from_state = models.CharField(max_length=20)
    to_state = models.CharField(max_length=20)
    reason = models.CharField(max_length=300, blank=True)
    actor_kind = models.CharField(max_length=20)
    actor_name = models.CharField(max_length=254)
    actor_id = models.UUIDField(null=True)
    # Of work that may be begun again: it is done once.
    work = models.UUIDField(null=True)

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "-id")
        constraints = [models.UniqueConstraint(fields=("work", "verb"), name="tenants_transition_work")]


class Deletion(Record):
    """The wish to delete an institution: one operator asks, another confirms; carried out after `due_at`."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="deletions")
    reason = models.CharField(max_length=300)
    requested_by = models.UUIDField()
    requested_by_name = models.CharField(max_length=254)
    confirmed_by = models.UUIDField(null=True)
    confirmed_by_name = models.CharField(max_length=254, blank=True)
    confirmed_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    cancelled_by_name = models.CharField(max_length=254, blank=True)
    cancelled_at = models.DateTimeField(null=True)
    final_backup = models.ForeignKey("Backup", null=True, on_delete=models.SET_NULL, related_name="+")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=("tenant",),
                condition=models.Q(cancelled_at=None, finished_at=None),
                name="tenants_deletion_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(confirmed_by=None) | ~models.Q(confirmed_by=models.F("requested_by")),
                name="tenants_deletion_two_operators",
            ),
        ]


class SignUp(Record):
    """Somebody asked for an institution and has to prove the address: `waiting` -> `confirmed` -> `ready` | `refused`.

    The same row, whoever asks and whatever is known of the address: the answer must not tell.
    """

    class Stage(models.TextChoices):
        WAITING = "waiting"
        CONFIRMED = "confirmed"
        READY = "ready"
        REFUSED = "refused"

    email = models.EmailField(max_length=254)
    name = models.CharField(max_length=200)
    slug = models.CharField(max_length=63)
    language = models.CharField(max_length=15)
    currency = models.CharField(max_length=3)
    time_zone = models.CharField(max_length=63)
    stage = models.CharField(max_length=10, choices=Stage, default=Stage.WAITING)
    expires_at = models.DateTimeField()
    # Letters: the proof of the address, and the invitation once the institution stands.
    proof_due = models.BooleanField(default=True)
    invitation_due = models.BooleanField(default=False)
    letter_attempts = models.PositiveSmallIntegerField(default=0)
    confirmed_at = models.DateTimeField(null=True)
    tenant = models.ForeignKey(Tenant, null=True, on_delete=models.SET_NULL, related_name="+")
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("created_at", "id")
        indexes = [models.Index(fields=("email", "created_at"), name="tenants_signup_address")]


class SchemaTemplate(Record):
    """The schema that new institutions are copies of, and its dump (shared_apps.tenants.template). There is one.

    `structure` is pg_dump's text of it without rows, which backups begin with (shared_apps.tenants.snapshots).
    """

    schema_name = models.CharField(max_length=30, unique=True)
    dump = models.TextField(blank=True)
    structure = models.TextField(blank=True)
    rows = models.CharField(max_length=64, blank=True)
    fingerprint = models.CharField(max_length=32, blank=True)

    class Meta:
        default_permissions = ()


class Backup(Record):
    """One backup that was written whole, of an institution or (without one) of the platform's own tables.

    `file` is its key in the store (backups.stores), `size` is in bytes, `sha256` that of the sealed file, `recipients`
    the public keys that it is sealed for (empty for one whose record was lost and made again). `verdict` is what
    the last look found: `intact` (the file is as it was written), `restored` (and a restore of it came out as it says),
    or `bad`, for which `complaint` says why.
    """

    class Verdict(models.TextChoices):
        INTACT = "intact"
        RESTORED = "restored"
        BAD = "bad"

    tenant = models.ForeignKey(Tenant, null=True, on_delete=models.PROTECT, related_name="backups")
    made_at = models.DateTimeField()
    file = models.CharField(max_length=200, unique=True)
    size = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64)
    recipients = models.JSONField(default=list)
    verdict = models.CharField(max_length=10, choices=Verdict, blank=True)
    verified_at = models.DateTimeField(null=True)
    complaint = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions = ()
        ordering = ("-made_at", "-id")


class KeptSchema(Record):
    """A schema that no request reaches: `restoring` (being filled), or put aside by a restore or its undoing."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="kept_schemas")
    schema_name = models.CharField(max_length=20, unique=True)
    reason = models.CharField(max_length=20)
    kept_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
