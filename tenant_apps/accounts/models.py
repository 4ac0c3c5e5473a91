"""People who sign in, what they may do, and the devices that they are signed in on."""

from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower

from shared_apps.core.models import Record
from shared_apps.core.permissions import Scope
from shared_apps.core.registry import registry
from shared_apps.core.standards import language_tag, time_zone_name
from tenant_apps.accounts.querysets import SessionQuerySet, UserRoleQuerySet


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Make a user; without a password nobody can sign in as them until one is set."""
        user = self.model(email=self.normalise(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=self.normalise(username or ""))

    @staticmethod
    def normalise(email: str) -> str:
        """E-mail logins are compared without regard to case."""
        return email.strip().lower()


class User(AbstractBaseUser, PermissionsMixin, Record):
    """A login of this institution. `token_version` is raised to end every session and token of the person at once."""

    email = models.EmailField(max_length=254)
    full_name = models.CharField(max_length=200, blank=True)
    language = models.CharField(max_length=15, blank=True, validators=[language_tag])
    time_zone = models.CharField(max_length=63, blank=True, validators=[time_zone_name])
    is_active = models.BooleanField(default=True)
    token_version = models.PositiveIntegerField(default=1)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    objects = UserManager()

    class Meta:
        default_permissions = ()
        ordering = ("email", "id")
        constraints = [
            models.UniqueConstraint(fields=("email",), name="accounts_user_email"),
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="accounts_user_email_lower"),
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        self.email = UserManager.normalise(self.email)


class Role(Record):
    """A named set of permissions that also holds those of its parents. System roles come with the platform."""

    code = models.SlugField(max_length=50, unique=True)
    name = models.CharField(max_length=100)
    is_system = models.BooleanField(default=False, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ("code",)

    def __str__(self) -> str:
        return self.name


class RoleInheritance(Record):
    """`role` holds what `parent` holds."""

    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="inherits", db_index=False)
    parent = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="inherited_by")

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=("role", "parent"), name="accounts_roleinheritance_once"),
            models.CheckConstraint(
                condition=~models.Q(role=models.F("parent")), name="accounts_roleinheritance_not_self"
            ),
        ]

    def clean(self) -> None:
        """A role cannot inherit itself, over however many steps."""
        edges: dict[Any, list[Any]] = {}
        for child, parent in RoleInheritance.objects.exclude(pk=self.pk).values_list("role_id", "parent_id"):
            edges.setdefault(child, []).append(parent)
        reached, pending = set(), [self.parent_id]
        while pending:
            role = pending.pop()
            if role == self.role_id:
                raise ValidationError({"parent": "A role cannot inherit itself, not even over other roles."})
            if role not in reached:
                reached.add(role)
                pending += edges.get(role, [])


class RolePermission(Record):
    """A permission that a role holds of its own. `code` repeats the permission's (`school.view_student`): it names the
    permission alike in every institution, and reading a person's rights needs no join."""

    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="grants", db_index=False)
    permission = models.ForeignKey("auth.Permission", on_delete=models.CASCADE, related_name="+", editable=False)
    code = models.CharField(max_length=200)

    class Meta:
        default_permissions = ()
        ordering = ("role", "code")
        constraints = [models.UniqueConstraint(fields=("role", "code"), name="accounts_rolepermission_once")]


class UserRole(Record):
    """A role held by a person within a scope and a time. `valid_until` is exclusive."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="roles", db_index=False)
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="holders")
    scope = models.CharField(max_length=20, choices=[(s, s) for s in Scope])
    scope_id = models.UUIDField(null=True, blank=True)
    valid_from = models.DateTimeField(null=True, blank=True)
    valid_until = models.DateTimeField(null=True, blank=True)
    granted_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )

    objects = UserRoleQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(
                fields=("user", "role", "scope", "scope_id"), nulls_distinct=False, name="accounts_userrole_once"
            ),
            models.CheckConstraint(
                condition=models.Q(valid_until__isnull=True)
                | models.Q(valid_from__isnull=True)
                | models.Q(valid_until__gt=models.F("valid_from")),
                name="accounts_userrole_ends_after_start",
            ),
        ]

    def clean(self) -> None:
        """A campus or department is named; institution, own children and self name nothing; a section may be."""
        if self.scope in (Scope.CAMPUS, Scope.DEPARTMENT) and self.scope_id is None:
            raise ValidationError({"scope_id": f"Name the {self.scope} that the role reaches over."})
        if self.scope in (Scope.INSTITUTION, Scope.OWN_CHILDREN, Scope.SELF) and self.scope_id is not None:
            raise ValidationError({"scope_id": f"The scope {self.scope} takes no id."})
        if self._state.adding and self.scope_id is not None and self.scope in list(Scope):
            self._name_a_record()

    def _name_a_record(self) -> None:
        """A grant over what does not exist would begin to hold for whatever is given that id later. One over what has
        been deleted since stays valid: it must still be possible to end it."""
        target = registry.scope_targets.get(Scope(self.scope))
        if target is None or not target._default_manager.filter(pk=self.scope_id).exists():
            raise ValidationError({"scope_id": ValidationError(f"There is no such {self.scope} here.", "unknown")})


class Session(Record):
    """One signed-in device. Ending it ends its access tokens, refresh tokens and sockets."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions", db_index=False)
    user_agent = models.CharField(max_length=300, blank=True)
    address = models.GenericIPAddressField(null=True)
    last_seen_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=30, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("-created_at", "id")
        indexes = [models.Index(fields=("user", "ended_at"), name="accounts_session_open")]


class RefreshToken(Record):
    """One link of a session's chain of refresh tokens; only the digest is kept. A session is the family.

    A token is consumed by one conditional UPDATE. A consumed one that comes back later than the grace period was
    stolen: the whole session ends.
    """

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="refresh_tokens")
    digest = models.CharField(max_length=64)
    consumed_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        ordering = ("id",)
        constraints = [models.UniqueConstraint(fields=("digest",), name="accounts_refreshtoken_digest")]
