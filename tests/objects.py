"""An object store for the suite: a server of its own that speaks S3 over HTTP, on a free port."""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BUCKET = "lyceum-backups"
SECONDS = 30.0


@contextmanager
def object_server() -> Iterator[str]:
    """The address of a running server that holds one empty bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            with suppress(OSError):
                asked("PUT", port, f"/{BUCKET}")
                break
            assert server.poll() is None, "the object store ended by itself"
            assert time.monotonic() < deadline, "the object store does not answer"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def emptied(endpoint: str) -> None:
    """Forget everything, and make the bucket anew."""
    port = int(endpoint.rpartition(":")[2])
    asked("POST", port, "/moto-api/reset")
    asked("PUT", port, f"/{BUCKET}")


def without_bucket(endpoint: str) -> None:
    asked("POST", int(endpoint.rpartition(":")[2]), "/moto-api/reset")


def asked(method: str, port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, headers={"Content-Length": "0"})
        answer = connection.getresponse()
        assert answer.status == 200, (answer.status, answer.read())
    finally:
        connection.close()


def settings_of(endpoint: str) -> dict[str, str]:
    """BACKUP_STORE, as the settings hold it."""
    return {
        "bucket": BUCKET,
        "prefix": "our/backups",
        "endpoint": endpoint,
        "region": "us-east-1",
        "key_id": "some",
        "secret": "one",
    }
