"""Whatever is killed between the commit that owes a letter and the letter: it is sent all the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from shared_apps.core.actors import acting, task
from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.accounts import letters
from tenant_apps.accounts.letters import Letter
from tenant_apps.eventlog import outbox
from tenant_apps.eventlog.models import OutboxMessage
from tests import cast
from tests.faults.dying import killed_at, points_of
from tests.tenant_apps.eventlog.carrying import carry_out


def careless(place: InstitutionContext) -> None:
    """The naive worker: what it has taken is done, then it sends."""
    with institution(place), acting(task("test")):
        for message in OutboxMessage.objects.filter(done_at=None):
            OutboxMessage.objects.filter(pk=message.pk).update(done_at=timezone.now())
            outbox._handlers[message.topic](message)


@pytest.mark.parametrize(("work", "lost"), [(carry_out, False), (careless, True)], ids=["ours", "a careless worker"])
def test_a_letter_comes_wherever_relay_and_worker_are_killed(
    committed: None,
    greenwood: InstitutionContext,
    settings: Any,
    tmp_path: Path,
    work: Callable[[InstitutionContext], None],
    lost: bool,
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"  # they outlive who sent them
    settings.EMAIL_FILE_PATH = str(tmp_path)

    def owe() -> None:
        for sent in tmp_path.iterdir():
            sent.unlink()
        with institution(greenwood), transaction.atomic():
            OutboxMessage.objects.all().delete()
            letters.owe(Letter.RESET, to=cast.user_id("teacher"))

    def letters_after_a_kill_at(point: int) -> int:
        owe()
        assert killed_at(point, lambda: work(greenwood))
        with institution(greenwood):
            OutboxMessage.objects.update(next_attempt_at=timezone.now())  # a minute later
            carry_out(greenwood)
            assert not OutboxMessage.objects.filter(done_at=None).exists()
        return len(list(tmp_path.iterdir()))

    owe()
    points = points_of(lambda: work(greenwood))
    sent = [letters_after_a_kill_at(point) for point in range(1, points + 1)]
    print(f"{points} points, letters: {sent}")
    if lost:
        assert 0 in sent, "negative control"
    else:
        assert set(sent) == {1, 2}, "twice only when killed between sending and saying so"
