"""What relay and workers do with the outbox, without their processes."""

from shared_apps.core.actors import acting, task
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.eventlog import outbox
from tenant_apps.eventlog.models import OutboxMessage


def carry_out(*places: InstitutionContext) -> None:
    """Carry out all due messages of the institutions: the relay's part, then the workers'."""
    for place in places:
        with institution(place), acting(task("test")):
            outbox.carry_out(most=1000)
            waiting = OutboxMessage.objects.filter(topic__in=outbox._by_worker, done_at=None)
            for key in waiting.values_list("pk", flat=True):
                outbox.carry_out_one(key)
