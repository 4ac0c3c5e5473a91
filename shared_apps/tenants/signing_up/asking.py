"""What a visitor may ask of the platform: an institution, proof of an address, and how far the making is.

No answer tells whether an address is known: the same row is written and the same words are said, whoever asks.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from shared_apps.core.api.admission import COUNT, place_key, run_or_refuse
from shared_apps.core.context import State, institution, platform
from shared_apps.core.errors import Conflict, Invalid, NotFound, Unavailable
from shared_apps.core.registry import NewInstitution, registry
from shared_apps.tenants.addresses import demand_free
from shared_apps.tenants.lifecycle import record
from shared_apps.tenants.models import SignUp, Tenant
from shared_apps.tenants.services import check_new, create_institution
from shared_apps.tenants.signing_up.proof import LIFE, bad_token, sign_up_of
from shared_apps.tenants.slugs import check_slug
from shared_apps.tenants.tasks import carry_on_sign_ups

LETTERS_TO_AN_ADDRESS = (3, 3600)  # within seconds; what is beyond gets the same answer, and no letter


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sign-up is. `steps` are those of the making, in order; `step` is the one under way."""

    id: UUID
    stage: str
    steps: list[str]
    step: str
    host: str
    error: str


def sign_up(*, new: NewInstitution) -> SignUp:
    """Ask for an institution. The person behind `new.admin_email` gets a letter with a token, and nothing is made
    before it comes back.

    Raises Invalid for what no institution can be made of, Conflict for a slug that is taken, Unavailable where signing
    up is closed or cannot be counted.
    """
    if not settings.LETTERS_GO_OUT:
        raise Unavailable("Signing up is closed here; ask the platform's operators.", code="sign_up_closed")
    check_new(new)
    demand_free(check_slug(new.slug))
    email = new.admin_email.strip().lower()
    asked = SignUp(
        email=email,
        name=new.name.strip(),
        slug=check_slug(new.slug),
        language=new.language,
        currency=new.currency,
        time_zone=new.time_zone,
        expires_at=datetime.now(UTC) + LIFE,
        proof_due=_one_letter_more(email),
    )
    with platform(), transaction.atomic():
        asked.save(force_insert=True)
        transaction.on_commit(carry_on_sign_ups.delay, robust=True)
    return asked


def create_and_invite(*, new: NewInstitution) -> Tenant:
    """Make an institution at once, as `create_institution` does, and owe its administrator the invitation by letter."""

    def owe(tenant: Tenant) -> None:
        if new.admin_email and settings.LETTERS_GO_OUT:
            _owe_invitation(tenant, new.admin_email)

    return create_institution(new=new, finish=owe)


def finish_making(*, tenant: Tenant) -> Tenant:
    """Complete a making that has ended half way, as it was ordered. Raises Conflict for an institution that is made, or
    that cannot be made so."""
    if tenant.state != State.PROVISIONING:
        raise Conflict(f"{tenant.name} is {tenant.state}; nothing of its making is left.", code="made")
    try:
        return create_and_invite(new=NewInstitution(**tenant.ordered))
    except (Invalid, ValidationError) as refused:
        said = " ".join(refused.messages) if isinstance(refused, ValidationError) else refused.detail
        detail = f"As it was ordered it cannot be made ({said}). Order it anew, in other words, under the same slug."
        raise Conflict(detail, code="cannot_be_made") from None


def invite_administrator(*, tenant: Tenant, email: str) -> None:
    """Write (again) to somebody who has a login there and no password yet.

    Raises Invalid for whom no letter would go to, Conflict where nobody could take it up, Unavailable where there is no
    mail server.
    """
    if not settings.LETTERS_GO_OUT:
        raise Unavailable("There is no mail server (EMAIL_URL); use manage.py set_password.", code="no_mail_server")
    with platform(), transaction.atomic():
        state = Tenant.objects.values_list("state", flat=True).get(pk=tenant.pk)
        if state != State.ACTIVE:
            raise Conflict(f"{tenant.name} is {state}; nobody can take up an invitation.", code="bad_transition")
        with institution(tenant.context):
            invited = registry.invite is not None and registry.invite(email) is not None
        if not invited:
            detail = f"Nobody at {tenant.name} has this e-mail, may sign in, and has no password yet."
            raise Invalid.at("/email", detail, code="nobody_to_invite")
        _owe_invitation(tenant, email)
        record(tenant, "invite", reason=email)


def _owe_invitation(tenant: Tenant, email: str) -> None:
    SignUp.objects.create(
        email=email.strip().lower(),
        name=tenant.name,
        slug=tenant.slug,
        stage=SignUp.Stage.READY,
        expires_at=datetime.now(UTC) + LIFE,
        proof_due=False,
        invitation_due=True,
        tenant=tenant,
    )
    transaction.on_commit(carry_on_sign_ups.delay, robust=True)


def confirm_sign_up(*, token: str, slug: str | None = None) -> SignUp:
    """The address is proven: the institution will be made, under another slug if the first has been taken meanwhile.

    Raises Invalid for a token that is not good, expired or was used; Conflict for a slug that is taken: then the token
    stays good.
    """
    with platform(), transaction.atomic():
        asked = SignUp.objects.select_for_update().filter(pk=sign_up_of(token), stage=SignUp.Stage.WAITING).first()
        now = datetime.now(UTC)
        if asked is None or asked.expires_at <= now:
            raise bad_token()
        asked.slug = check_slug(slug if slug is not None else asked.slug)
        demand_free(asked.slug)
        asked.stage, asked.confirmed_at, asked.proof_due = SignUp.Stage.CONFIRMED, now, False
        asked.save(update_fields=["slug", "stage", "confirmed_at", "proof_due", "updated_at"])
        transaction.on_commit(carry_on_sign_ups.delay, robust=True)
    return asked


def progress_of(key: UUID) -> Progress:
    """How far a sign-up is; its id is known to whoever asked alone. Raises NotFound."""
    with platform():
        asked = SignUp.objects.filter(pk=key).first()
        if asked is None:
            raise NotFound("There is no such sign-up.")
        made = Tenant.objects.prefetch_related("domains").filter(pk=asked.tenant_id).first()
        making = None
        if asked.stage == SignUp.Stage.CONFIRMED:
            making = Tenant.objects.filter(domains__slug=asked.slug, state=State.PROVISIONING).first()
        return Progress(
            id=asked.pk,
            stage=asked.stage,
            steps=["schema", *(name for name, _ in registry.provisioning_steps)],
            step=making.step if making is not None else "",
            host=made.host if made is not None else "",
            error=asked.error,
        )


def _one_letter_more(email: str) -> bool:
    """Whether this address may get another letter now. Raises Unavailable when it cannot be counted: then nobody may,
    known or not."""
    most, seconds = LETTERS_TO_AN_ADDRESS
    with platform():
        key = f"{place_key()}:sign-up:{hashlib.sha256(email.encode()).hexdigest()}"
    used, _ = run_or_refuse(COUNT, (key,), (seconds * 1000,))
    return bool(used <= most)
