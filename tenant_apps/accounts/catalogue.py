"""The permission rows and the system roles of an institution, kept as the rooms declare them.

Runs after each migration of an institution. With nothing to change it costs four queries.
"""

from typing import Any, Final

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from shared_apps.core.api.admission import forget_authorisations
from shared_apps.core.context import InstitutionContext, Kind, current, current_institution
from shared_apps.core.permissions import Action, PermissionCatalogue, Subject
from shared_apps.core.registry import registry
from shared_apps.core.routing import tenant_app_labels
from tenant_apps.accounts.models import Role, RolePermission

SYSTEM_ROLES: Final = {
    Kind.INSTITUTION: {
        "principal": "Principal",
        "teacher": "Teacher",
        "guardian": "Guardian",
        "student": "Student",
    },
    Kind.OPERATOR: {"operator": "Operator"},
}
ADMINISTRATORS: Final = {Kind.INSTITUTION: "principal", Kind.OPERATOR: "operator"}


def administrator_role() -> str:
    """Code of the role that runs the present institution."""
    return ADMINISTRATORS[Kind(current_institution().kind)]


def sync_catalogue() -> None:
    """Make `auth.Permission` and what the system roles hold equal to the rooms' declarations."""
    with transaction.atomic():
        permissions, changed = _sync_permissions(_subjects())
        if _sync_roles(permissions) or changed:
            forget_authorisations(None)


def sync_after_migrate(**kwargs: Any) -> None:
    """Receiver of accounts' post_migrate: in an institution once its tables stand, never on the platform."""
    if not isinstance(current(), InstitutionContext):
        return
    try:
        kwargs["apps"].get_model("accounts", "RolePermission")
    except LookupError:  # migrated back to before the table
        return
    sync_catalogue()


def _subjects() -> list[Subject]:
    """What can be done here: an institution has its own rooms, the operators' tenant what operators are granted."""
    if current_institution().kind == Kind.OPERATOR:
        return [member.value for member in registry.grants.get("operator", {})]
    return [
        member.value
        for catalogue in PermissionCatalogue.__subclasses__()
        for member in catalogue
        if member.value.app_label in tenant_app_labels()
    ]


def _sync_permissions(subjects: list[Subject]) -> tuple[dict[str, Permission], bool]:
    """The permission rows by code (`school.view_student`), and whether any was added, renamed or removed."""
    wanted = {
        (_content_type(subject).pk, f"{action}_{subject.model}"): (subject, action)
        for subject in subjects
        for action in sorted(subject.actions)
    }
    found = {(row.content_type_id, row.codename): row for row in Permission.objects.order_by("pk")}
    stale = [row.pk for key, row in found.items() if key not in wanted]
    if stale:
        Permission.objects.filter(pk__in=stale).delete()
    renamed = []
    for key, (subject, action) in wanted.items():
        row = found.get(key)
        if row is not None and row.name != _name(subject, action):
            row.name = _name(subject, action)
            renamed.append(row)
    Permission.objects.bulk_update(renamed, ["name"])
    new = [
        Permission(content_type_id=key[0], codename=key[1], name=_name(*value))
        for key, value in wanted.items()
        if key not in found
    ]
    Permission.objects.bulk_create(new)
    rows = {**{key: found[key] for key in wanted if key in found}, **{(p.content_type_id, p.codename): p for p in new}}
    by_code = {f"{wanted[key][0].app_label}.{key[1]}": row for key, row in rows.items()}
    return by_code, bool(stale or renamed or new)


def _content_type(subject: Subject) -> ContentType:
    """The subject's content type in public; a subject that is no model (an import, say) has one all the same."""
    try:
        model = apps.get_model(subject.app_label, subject.model)
    except LookupError:
        return ContentType.objects.get_or_create(app_label=subject.app_label, model=subject.model)[0]
    return ContentType.objects.get_for_model(model, for_concrete_model=False)


def _name(subject: Subject, action: Action) -> str:
    return f"{action} {subject.plural}"


def _sync_roles(permissions: dict[str, Permission]) -> bool:
    names = SYSTEM_ROLES[Kind(current_institution().kind)]
    roles = {role.code: role for role in Role.objects.filter(code__in=names)}
    for code, name in names.items():
        if code not in roles:
            roles[code] = Role.objects.create(code=code, name=name, is_system=True)
        elif not roles[code].is_system:
            roles[code].is_system = True
            roles[code].save(update_fields=["is_system", "updated_at"])
    wanted = {
        (roles[code].pk, member.code(action))
        for code in names
        for member, actions in registry.grants.get(code, {}).items()
        for action in actions
        if member.code(action) in permissions
    }
    held = {
        (row.role_id, row.code): row.pk
        for row in RolePermission.objects.filter(role__in=roles.values()).only("role_id", "code")
    }
    stale = [pk for key, pk in held.items() if key not in wanted]
    if stale:
        RolePermission.objects.filter(pk__in=stale).delete()
    new = [
        RolePermission(role_id=role_id, code=code, permission=permissions[code])
        for role_id, code in sorted(wanted - held.keys())
    ]
    RolePermission.objects.bulk_create(new)
    return bool(stale or new)
