"""The Celery app: `celery -A tasks.app:app worker`, `celery -A tasks.app:app beat`."""

import os
import warnings
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django
from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import beat_init, worker_init
from django.apps import apps
from django.conf import settings
from kombu.utils.uuid import uuid

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_config.settings.local")
if not apps.models_ready:  # the celery command imports this module first of all
    django.setup()

from tasks.base import TenantTask, header_for
from tasks.schedule import SCHEDULE

# It warns whoever runs a worker as root, as a container does: pickled messages could do anything. Ours are JSON.
warnings.filterwarnings("ignore", category=SecurityWarning)

WORKER_MEMORY = 350_000  # KiB; a child that has grown past it is replaced after its task
BEFORE_REDELIVERY = 120  # seconds: a task is ended so much earlier than the broker would hand it to another worker


def broker_url(redis_url: str) -> str:
    """`unix:///path?db=0` as kombu writes it, `redis+socket:///path?virtual_host=0`; other addresses as they are."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    number = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?virtual_host={number}"


class LyceumCelery(Celery):
    """Puts the institution's header on every message, whichever way it is sent: delay, retry, canvas, by name."""

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        options["task_id"] = options.get("task_id") or uuid()
        header = header_for(self.tasks.get(name), name, options["task_id"])
        options["headers"] = {**(options.get("headers") or {}), **header}
        return super().send_task(name, *args, **options)


app = LyceumCelery("lyceum", task_cls=TenantTask)
app.conf.update(
    broker_url=broker_url(settings.REDIS_URL),
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": settings.LONGEST_TASK_SECONDS},
    task_time_limit=settings.LONGEST_TASK_SECONDS - BEFORE_REDELIVERY,
    # The broker may lose or repeat a message whatever is set here (measured): jobs are claimed once and swept.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_max_memory_per_child=WORKER_MEMORY,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    task_ignore_result=True,
    result_expires=None,
    accept_content=["json"],
    task_serializer="json",
    timezone="UTC",
    enable_utc=True,
    beat_scheduler="tasks.beat:LeaderScheduler",
    beat_schedule=SCHEDULE,
    imports=("tasks.periodic",),
)
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def refuse_an_unsafe_start(**_: Any) -> None:
    """Imported late: this module is read while the apps get ready, the checks need them all."""
    from shared_apps.core.checks import demand_safe_start

    demand_safe_start()
