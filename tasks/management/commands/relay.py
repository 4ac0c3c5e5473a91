import signal
from typing import Any

from django.core.management.base import BaseCommand

from tasks.relay import Relay


class Command(BaseCommand):
    help = "Carry out outbox messages and look after jobs, until SIGTERM or Ctrl-C. Several may run at once."

    def handle(self, *args: Any, **options: Any) -> None:
        relay = Relay()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: relay.stop())
        relay.run()
