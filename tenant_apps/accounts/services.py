"""Verbs over people and roles. Nobody grants, or takes away, what they do not hold themselves."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from shared_apps.core.api.admission import forget_authorisations
from shared_apps.core.errors import Conflict, Forbidden, Invalid
from shared_apps.core.permissions import Principal, Reach, Scope
from shared_apps.core.registry import NewInstitution
from tenant_apps.accounts import letters
from tenant_apps.accounts.catalogue import administrator_role
from tenant_apps.accounts.letters import Letter
from tenant_apps.accounts.models import Role, RoleInheritance, RolePermission, User, UserManager, UserRole
from tenant_apps.accounts.passwords import demand_good, hashed
from tenant_apps.accounts.permissions import AccountsPermission
from tenant_apps.accounts.querysets import permissions_of_roles
from tenant_apps.accounts.sessions import end_sessions

EVERYWHERE = Reach(Scope.INSTITUTION)

# People


def create_user(*, email: str, **fields: Any) -> User:
    """Make a login, still without a password. Raises ValidationError (`unique`) for a known e-mail."""
    user = User(email=UserManager.normalise(email), **fields)
    user.set_unusable_password()
    user.full_clean(exclude=["id", "password"])
    user.save(force_insert=True)
    return user


def change_user(*, by: Principal, user: User, values: dict[str, Any]) -> User:
    """Change a login. Deactivation ends its sessions; so does another e-mail, which is another key to the account.

    Raises Forbidden when the person holds what `by` does not hold: whoever can rename or lock an account could
    otherwise take over a greater one. Raises Conflict for the last administrator.
    """
    with transaction.atomic():
        if user.pk != by.user_id:
            _demand_reach_over(by, UserRole.objects.filter(user=user).not_over(timezone.now()))
        ends = ("is_active" in values and not values["is_active"] and user.is_active) or (
            "email" in values and UserManager.normalise(values["email"]) != user.email
        )
        for name, value in values.items():
            setattr(user, name, value)
        user.full_clean(exclude=["password"])
        user.save(update_fields=[*values, "updated_at"])
        if ends:
            _raise_version(user)
            end_sessions(user_id=user.pk, reason="deactivated" if not user.is_active else "email_changed")
            demand_an_administrator()
        forget_authorisations(user.pk)
    return user


def set_password(*, user: User, password: str, keep: UUID | None = None, pointer: str = "/password") -> User:
    """Set a person's password and end all their sessions but `keep`; every access token made before is void. Who had
    one is told by letter.

    Raises Invalid for a weak password. Returns the user with the new `token_version`.
    """
    demand_good(password, user, pointer=pointer)
    encoded, had_one = hashed(password), user.has_usable_password()
    with transaction.atomic():
        user.password = encoded
        User.objects.filter(pk=user.pk).update(password=encoded, updated_at=timezone.now())
        _raise_version(user)
        end_sessions(user_id=user.pk, reason="password_changed", but=keep)
        if had_one:
            letters.owe(Letter.CHANGED, to=user.pk)
    return user


def end_everywhere(*, user_id: UUID) -> None:
    """Sign a person out on all devices."""
    end_sessions(user_id=user_id, reason="signed_out")


def _raise_version(user: User) -> None:
    User.objects.filter(pk=user.pk).update(token_version=F("token_version") + 1)
    user.refresh_from_db(fields=["token_version"])


# Roles of people


def grant_role(
    *,
    by: Principal,
    user: User,
    role: Role,
    scope: str,
    scope_id: UUID | None = None,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> UserRole:
    """Give a person a role. Raises Forbidden when `by` lacks one of its permissions over that scope."""
    grant = UserRole(
        user=user,
        role=role,
        scope=scope,
        scope_id=scope_id,
        valid_from=valid_from,
        valid_until=valid_until,
        granted_by_id=by.user_id,
    )
    grant.full_clean()
    with transaction.atomic():
        _demand_held(by, permissions_of_roles([role.pk])[role.pk], Reach(Scope(scope), scope_id))
        grant.save(force_insert=True)
        forget_authorisations(user.pk)
    return grant


def change_grant(*, by: Principal, grant: UserRole, values: dict[str, Any]) -> UserRole:
    """Change from when and until when a role is held. Raises Invalid for anything else: that is another grant."""
    for name in ("user", "role", "scope", "scope_id"):
        if name in values and values[name] != getattr(grant, name):
            raise Invalid.at(f"/{name}", "This cannot change; give the role anew and take this one back.", code="fixed")
    with transaction.atomic():
        _demand_reach_over(by, [grant])
        changed = [name for name in ("valid_from", "valid_until") if name in values]
        for name in changed:
            setattr(grant, name, values[name])
        grant.granted_by_id = by.user_id
        grant.full_clean()
        grant.save(update_fields=[*changed, "granted_by", "updated_at"])
        demand_an_administrator()
        forget_authorisations(grant.user_id)
    return grant


def revoke_role(*, by: Principal, grant: UserRole) -> None:
    """Take a role back, at once and on open sockets too. Raises Conflict for the last administrator's."""
    with transaction.atomic():
        _demand_reach_over(by, [grant])
        grant.delete()
        demand_an_administrator()
        forget_authorisations(grant.user_id)


def demand_an_administrator() -> None:
    """Raises Conflict unless somebody active holds the administrators' role over the whole institution, now and without
    an end: one that runs out would leave nobody who could prolong it.

    Its row is locked first: two administrators who deactivate each other must not both succeed.
    """
    role = Role.objects.select_for_update().filter(code=administrator_role()).first()
    if role is None:
        return
    held = UserRole.objects.valid(timezone.now()).filter(
        role=role, scope=Scope.INSTITUTION, user__is_active=True, valid_until=None
    )
    if not held.exists():
        raise Conflict("The institution would be left without an administrator.", code="last_administrator")


# What roles hold


def create_role(*, code: str, name: str) -> Role:
    role = Role(code=code, name=name)
    role.full_clean()
    role.save(force_insert=True)
    return role


def change_role(*, role: Role, values: dict[str, Any]) -> Role:
    _demand_own(role)
    for name, value in values.items():
        setattr(role, name, value)
    role.full_clean()
    role.save(update_fields=[*values, "updated_at"])
    return role


def remove_role(*, by: Principal, role: Role) -> None:
    """Delete a role that nobody holds (else ProtectedError: 409). The roles that inherit it lose what it holds."""
    _demand_own(role)
    with transaction.atomic():
        _demand_held(by, permissions_of_roles([role.pk])[role.pk], EVERYWHERE)
        role.delete()
        forget_authorisations(None)


def grant_permission(*, by: Principal, role: Role, code: str) -> RolePermission:
    """Add a permission to a role. Its holders may have it anywhere, so `by` must hold it everywhere."""
    _demand_own(role)
    app_label, _, codename = code.partition(".")
    permission = Permission.objects.filter(content_type__app_label=app_label, codename=codename).first()
    if permission is None:
        raise Invalid.at("/code", "There is no such permission; accounts/permissions/ lists them.", code="unknown")
    with transaction.atomic():
        _demand_held(by, [code], EVERYWHERE)
        held = RolePermission(role=role, permission=permission, code=code)
        held.full_clean()
        held.save(force_insert=True)
        forget_authorisations(None)
    return held


def withdraw_permission(*, by: Principal, held: RolePermission) -> None:
    _demand_own(held.role)
    with transaction.atomic():
        _demand_held(by, [held.code], EVERYWHERE)
        held.delete()
        forget_authorisations(None)


def inherit_role(*, by: Principal, role: Role, parent: Role) -> RoleInheritance:
    """Let a role hold what another holds. Raises ValidationError for a circle."""
    _demand_own(role)
    with transaction.atomic():
        # All roles, in one order: two halves of a circle made at the same time must see each other.
        list(Role.objects.select_for_update().order_by("pk").values_list("pk"))
        _demand_held(by, permissions_of_roles([parent.pk])[parent.pk], EVERYWHERE)
        edge = RoleInheritance(role=role, parent=parent)
        edge.full_clean()
        edge.save(force_insert=True)
        forget_authorisations(None)
    return edge


def disinherit_role(*, by: Principal, edge: RoleInheritance) -> None:
    _demand_own(edge.role)
    with transaction.atomic():
        _demand_held(by, permissions_of_roles([edge.parent_id])[edge.parent_id], EVERYWHERE)
        edge.delete()
        forget_authorisations(None)


def _demand_own(role: Role) -> None:
    """System roles are the platform's: a release sets what they hold."""
    if role.is_system:
        raise Conflict(
            f"{role.name} comes with the platform and stays as it is; make a role that inherits it.", code="system_role"
        )


# Who may grant


def _demand_reach_over(by: Principal, grants: Iterable[UserRole]) -> None:
    found = list(grants)
    permissions = permissions_of_roles(grant.role_id for grant in found)
    for grant in found:
        _demand_held(by, permissions[grant.role_id], Reach(Scope(grant.scope), grant.scope_id))


def _demand_held(by: Principal, codes: Iterable[str], reach: Reach) -> None:
    """Raises Forbidden unless `by` holds every code over the reach: everywhere, or over the very same place."""
    missing = sorted(code for code in codes if not any(_covers(held, reach) for held in by.reaches(code)))
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise Forbidden(f"You do not hold this over that scope yourself: {shown}.", code="not_held")


def _covers(held: Reach, wanted: Reach) -> bool:
    if held.scope is Scope.INSTITUTION:
        return True
    # "Self", "own children" and "taught sections" mean other rows for another person.
    return wanted.scope_id is not None and held == wanted


def demand_may_link_logins(*, by: Principal) -> None:
    """Raises Forbidden unless `by` may give roles everywhere.

    Whoever says which login a student, a guardian or a member of staff has decides whose children and sections its
    roles reach: that is giving rights, and a campus's office could give itself another campus's.
    """
    if not any(held.scope is Scope.INSTITUTION for held in by.reaches(AccountsPermission.USER_ROLE.code("add"))):
        raise Forbidden("Only who may give roles in the whole institution links a person to a login.", code="not_held")


# A new institution


def first_administrator(new: NewInstitution) -> None:
    """Provisioning step: a login for the institution's administrator, if one was named, still without a password."""
    if not new.admin_email:
        return
    user = create_user(email=new.admin_email)
    role = Role.objects.get(code=administrator_role())
    UserRole.objects.create(user=user, role=role, scope=Scope.INSTITUTION)
