"""One JSON object a line on standard output, from structlog and from the standard library alike."""

import logging
import re
import sys
from typing import Any

import django.db.utils
import orjson
import psycopg.errors
import structlog

from shared_apps.core.context import InstitutionContext, current


def _place(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Every line carries the institution that it was written in."""
    context = current()
    if isinstance(context, InstitutionContext):
        event.setdefault("institution", context.slug)
    return event


def _dumps(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()


DATABASE_ERRORS = frozenset(
    name
    for module in (django.db.utils, psycopg.errors)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, django.db.utils.Error | psycopg.Error)
)
VALUE = re.compile(r': ".*"\Z', re.S)


def _without_values(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """PostgreSQL names the row that it refuses, below the message and where it cannot read a value: those are people's
    words, and no reader of logs needs them."""
    for stack in event.get("exception") or ():
        if stack["exc_type"] in DATABASE_ERRORS:
            stack["exc_value"] = VALUE.sub(": (a value)", stack["exc_value"].partition("\n")[0])
    return event


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    _place,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    # Without the local variables of each frame: they hold passwords, tokens and pupils.
    structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
    _without_values,
]


def configure(level: str = "INFO") -> None:
    """Set up both loggers of this process."""
    structlog.configure(
        processors=[*SHARED, structlog.processors.JSONRenderer(serializer=_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("django.request", "django.db.backends", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
