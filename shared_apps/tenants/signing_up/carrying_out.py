"""Letters and institutions of sign-ups, made from their rows: any number of processes may do so, again and again.

A letter may go out twice when a process dies between sending and noting it; an institution is made once, for the row
says so in the transaction that makes it active.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F, Q

from shared_apps.core.context import State, institution, platform
from shared_apps.core.errors import Conflict, Invalid
from shared_apps.core.registry import NewInstitution, registry
from shared_apps.tenants.models import SignUp, Tenant
from shared_apps.tenants.services import create_institution
from shared_apps.tenants.signing_up import letters

MOST_ATTEMPTS = 10  # at a letter, one a minute: then somebody should look at the mail server
KEPT = timedelta(days=30)
log = structlog.get_logger(__name__)


def carry_on() -> None:
    """Write the letters that are due, make the institutions that are confirmed, forget what is long over. The trouble
    of one stops no other, and is tried again by the next run."""
    with platform():
        now = datetime.now(UTC)
        SignUp.objects.filter(expires_at__lt=now - KEPT).exclude(stage=SignUp.Stage.CONFIRMED).delete()
        for asked in SignUp.objects.filter(stage=SignUp.Stage.CONFIRMED):
            _make(asked)
        due = Q(proof_due=True, stage=SignUp.Stage.WAITING, expires_at__gt=now) | Q(invitation_due=True)
        for key in SignUp.objects.filter(due, letter_attempts__lt=MOST_ATTEMPTS).values_list("pk", flat=True):
            _write(key)


def _make(asked: SignUp) -> None:
    """The institution, or the reason why there is none. What died half way is finished under the same slug."""
    new = NewInstitution(
        name=asked.name,
        slug=asked.slug,
        admin_email=asked.email,
        language=asked.language,
        currency=asked.currency,
        time_zone=asked.time_zone,
    )
    confirmed = SignUp.objects.filter(pk=asked.pk, stage=SignUp.Stage.CONFIRMED)

    def ready(tenant: Tenant) -> None:
        confirmed.update(stage=SignUp.Stage.READY, tenant=tenant, invitation_due=True, letter_attempts=0)

    try:
        create_institution(new=new, finish=ready)
    except (Conflict, Invalid) as refused:
        confirmed.update(stage=SignUp.Stage.REFUSED, error=refused.detail[:300])
    except Exception as error:
        log.error("sign_up_not_carried_out", sign_up=str(asked.pk), exc_info=error)


def _write(key: UUID) -> None:
    """One letter, under the row's lock, so that two processes do not both write it."""
    try:
        with transaction.atomic():
            asked = SignUp.objects.select_for_update(skip_locked=True).filter(pk=key).first()
            if asked is None:
                return
            if asked.invitation_due:
                _invite(asked)
                asked.invitation_due = False
            elif asked.proof_due:
                subject, text = letters.proof(asked)
                send_mail(subject, text, None, [asked.email])
                asked.proof_due = False
            asked.save(update_fields=["invitation_due", "proof_due", "updated_at"])
    except Exception as error:
        SignUp.objects.filter(pk=key).update(letter_attempts=F("letter_attempts") + 1)
        log.error("sign_up_letter_not_sent", sign_up=str(key), exc_info=error)


def _invite(asked: SignUp) -> None:
    tenant = Tenant.objects.prefetch_related("domains").filter(pk=asked.tenant_id, state=State.ACTIVE).first()
    if tenant is None or registry.invite is None:
        return
    with institution(tenant.context):
        token = registry.invite(asked.email)
    if token is not None:
        subject, text = letters.invitation(tenant, token)
        send_mail(subject, text, None, [asked.email])
