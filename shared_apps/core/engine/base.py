"""django-tenants' PostgreSQL engine, told where it stands by `core.context` instead of by the thread's connection.

Why not the stock engine (measured, see docs/adr/0002): it keeps the tenant on the connection, so it stays on the last
one after the response, an event loop reads "public", and every cursor sends `SET search_path`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.backends.postgresql.features import DatabaseFeatures as StockFeatures
from django.db.backends.postgresql.operations import DatabaseOperations as StockOperations
from django_tenants.postgresql_backend.base import DatabaseWrapper as StockWrapper

from shared_apps.core.context import InstitutionContext, NoTenant, WrongContext, current

PLAIN_NAME = re.compile(r"\A[a-z][a-z0-9_]{0,54}\Z")


class DatabaseOperations(StockOperations):
    def deferrable_sql(self) -> str:
        """Foreign keys are checked at once: Citus reports a violation at COMMIT as an internal error (SCALE 3)."""
        return " DEFERRABLE INITIALLY IMMEDIATE"

    def max_name_length(self) -> int:
        """55 of PostgreSQL's 63: Citus appends a shard's number to constraint and index names (SCALE 8)."""
        return 55


class DatabaseFeatures(StockFeatures):
    can_defer_constraint_checks = False


class DatabaseWrapper(StockWrapper):
    ops_class = DatabaseOperations
    features_class = DatabaseFeatures

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._connecting = False
        super().__init__(*args, **kwargs)

    @property
    def schema_name(self) -> str:
        """The schema that a cursor opened now would read. Raises NoTenant outside of any context."""
        context = current()
        if context is None:
            raise NoTenant(
                "A query ran outside of any context. Enter core.context.institution() or core.context.platform() first."
            )
        return context.schema_name

    @schema_name.setter
    def schema_name(self, value: str | None) -> None:
        """The stock engine assigns it while it is made; the context alone decides."""

    @property
    def tenant(self) -> Any:
        return current()

    @tenant.setter
    def tenant(self, value: Any) -> None:
        """As for schema_name."""

    def set_schema_to_public(self) -> None:
        """Called once by the stock engine's constructor; the context alone decides."""

    def set_tenant(self, tenant: Any, include_public: bool = True) -> None:
        raise WrongContext("connection.set_tenant() is banned: enter core.context.institution() or platform().")

    def set_schema(self, schema_name: str, include_public: bool = True, tenant_type: str | None = None) -> None:
        raise WrongContext("connection.set_schema() is banned: enter core.context.institution() or platform().")

    def connect(self) -> None:
        """Set-up statements of a new connection need no context: makemigrations, beat and pytest open some early."""
        self._connecting = True
        try:
            super().connect()
        finally:
            self._connecting = False

    def _handle_search_path(self, cursor: Any = None) -> None:
        if self._connecting:
            return
        schema = self.schema_name
        if not PLAIN_NAME.match(schema):
            raise WrongContext(f"{schema!r} is not a schema name of this platform.")
        path = f"{schema}, public" if isinstance(current(), InstitutionContext) else schema
        # PostgreSQL 18 reports search_path to its client after SET, rollback and RESET alike, so the comparison is
        # right across savepoints and pooled connections. Older servers report nothing: there it is sent each time.
        if self.connection.info.parameter_status("search_path") == path:
            return
        if self.connection.info.transaction_status == 3:  # INERROR: only a rollback can follow, let it through
            return
        self._send_search_path(path)

    def _send_search_path(self, path: str) -> None:
        """On psycopg's own cursor: it is the connection's housekeeping, not one of the caller's queries."""
        with self.wrap_database_errors, self.connection.cursor() as cursor:
            cursor.execute(f"SET search_path = {path}")


@contextmanager
def owner_connection() -> Iterator[None]:
    """Run the block as the owner role, which may change tables; the serving role may not.

    The thread's default connection is put aside and comes back afterwards, so the block must not be entered inside
    a transaction.
    """
    serving = connections["default"]
    if serving.in_atomic_block:
        raise WrongContext("owner_connection() was entered inside a transaction of the serving role.")
    owner = connections.create_connection("default")
    owner.settings_dict = {**owner.settings_dict, **settings.DATABASE_OWNER}
    connections["default"] = owner
    try:
        yield
    finally:
        owner.close()
        connections["default"] = serving
