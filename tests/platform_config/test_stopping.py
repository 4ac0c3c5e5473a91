"""SIGTERM ends a web process without ending what it works on."""

import signal
import socket
import time
from contextlib import ExitStack

from tests.platform_config.test_bodies import HOST, TOKEN, ask, web_command
from tests.tasks import workers

BODY = b'{"email": "nobody@greenwood.test", "password": "not the password"}'


def answer_across(number: signal.Signals) -> bytes:
    """What a client hears that has sent half of its request when the process is told to end."""
    with ExitStack() as stack:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        started = stack.enter_context(workers.process(*web_command(port)))
        deadline = time.monotonic() + 30
        while ask(port, "GET", "/health/live").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        head = f"POST {TOKEN} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}"
        client.sendall(f"{head}\r\n\r\n".encode() + BODY[:10])
        time.sleep(0.5)
        if number is signal.SIGKILL:
            workers.kill(started)
        else:
            started.send_signal(number)
        time.sleep(0.5)
        assert ask(port, "GET", "/health/live").status == 0, "nobody new is let in"
        try:
            client.sendall(BODY[10:])
            heard = client.recv(12)
        except OSError:
            heard = b""
        started.wait(20)
        return heard[9:12]


def test_a_request_in_flight_is_answered_after_sigterm(committed: None) -> None:
    assert answer_across(signal.SIGTERM) == b"401"


def test_a_request_in_flight_is_lost_by_a_kill(committed: None) -> None:
    """Negative control."""
    assert answer_across(signal.SIGKILL) == b""
