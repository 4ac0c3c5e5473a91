from tests.tasks.committed import committed

__all__ = ["committed"]
