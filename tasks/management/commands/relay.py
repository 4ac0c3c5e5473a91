import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from tasks.relay import Relay
from tasks.sealer import Sealer


class Command(BaseCommand):
    help = "Carry out outbox messages, look after jobs and seal the logs, until SIGTERM or Ctrl-C. Several may run."

    def handle(self, *args: Any, **options: Any) -> None:
        relay, sealer = Relay(), Sealer()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: relay.stop())
        sealing = threading.Thread(target=sealer.run, name="lyceum-sealer")
        sealing.start()
        try:
            relay.run()
        finally:
            sealer.stop()
            sealing.join()
