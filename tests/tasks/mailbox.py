"""A mail server for tests of real workers: takes every letter (RFC 5321, as far as smtplib speaks it)."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue


class Conversation(socketserver.StreamRequestHandler):
    server: "Mailbox"

    def handle(self) -> None:
        self.say("220 here")
        for line in iter(self.rfile.readline, b""):
            match line[:4].upper():
                case b"DATA":
                    self.say("354 go on")
                    letter = iter(self.rfile.readline, b".\r\n")
                    self.server.letters.put(b"".join(letter).decode())
                    self.say("250 taken")
                case b"QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 fine")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class Mailbox(socketserver.ThreadingTCPServer):
    """`letters` holds what has been sent, headers and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.letters: SimpleQueue[str] = SimpleQueue()

    @property
    def url(self) -> str:
        """As EMAIL_URL names it."""
        return f"smtp+plain://127.0.0.1:{self.server_address[1]}"


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
