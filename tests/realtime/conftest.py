from tests.realtime.sockets import application, sign_in, tell
from tests.tasks.committed import committed

__all__ = ["application", "committed", "sign_in", "tell"]
