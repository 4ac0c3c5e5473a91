"""PostgreSQL goes away and comes back, for those who reach it through here: a socket in front of the real one.

The suite's own server goes on, so other workers notice nothing.
"""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

CHUNK = 65536


class Line:
    """A Unix socket that leads to the server as long as it is up. Down, who is connected is cut off, and nobody is let
    in, as when the server is stopped."""

    def __init__(self, directory: Path, database: dict[str, Any]) -> None:
        self.directory = directory
        self._to = database["HOST"], str(database["PORT"] or 5432)
        self._path = directory / ".s.PGSQL.5432"
        self._lock = threading.Lock()
        self._joined: set[socket.socket] = set()
        self._listening: socket.socket | None = None

    def up(self) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self._path))
        listening.listen(128)
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def down(self) -> None:
        """Everybody is cut off, in the middle of whatever they do."""
        listening, self._listening = self._listening, None
        if listening is not None:
            self._path.unlink()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        with self._lock:
            joined, self._joined = self._joined, set()
        for end in joined:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = self._dial()
            with self._lock:
                self._joined |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _dial(self) -> socket.socket:
        host, port = self._to
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host or "127.0.0.1", int(port)))

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while received := source.recv(CHUNK):
                target.sendall(received)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._joined -= {source, target}
        source.close()
