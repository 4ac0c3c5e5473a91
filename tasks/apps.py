from django.apps import AppConfig


class TasksConfig(AppConfig):
    """No models. Any process that may send a task knows the Celery app, so `shared_task` finds it."""

    name = "tasks"
    label = "tasks"

    def ready(self) -> None:
        from tasks import app  # noqa: F401
