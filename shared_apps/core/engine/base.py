"""django-tenants' PostgreSQL engine, told where it stands by `core.context` instead of by the thread's connection.

Why not the stock engine (measured, see docs/adr/0002): it keeps the tenant on the connection, so it stays on the last
one after the response, an event loop reads "public", and every cursor sends `SET search_path`.

It also tells PostgreSQL who acts (`core.actors`), once in each transaction, by the same message that begins it; and
with the switch to an institution, how long one of its statements may take (`core.limits`).
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from django.db import connections, transaction
from django.db.backends.postgresql.features import DatabaseFeatures as StockFeatures
from django.db.backends.postgresql.operations import DatabaseOperations as StockOperations
from django.db.backends.postgresql.schema import DatabaseSchemaEditor as StockEditor
from django_tenants.postgresql_backend.base import DatabaseWrapper as StockWrapper
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

from shared_apps.core.actors import Actor, actor
from shared_apps.core.context import PLATFORM, InstitutionContext, NoTenant, WrongContext, current
from shared_apps.core.quotas import statement_timeout
from shared_apps.core.search import SIMILAR_ENOUGH

# What begins a statement that may change rows; one in a WITH is found by its verb further on.
WRITES = re.compile(
    r"\s*(?:INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|WITH\b.*\b(?:INSERT|UPDATE|DELETE|MERGE))\b", re.I | re.S
)
# What an institution's schema, or the template of one, is called: never public or one of the server's own.
INSTITUTIONS_NAME = re.compile(r"\A(?:t|template)_[a-z0-9_]{1,40}\Z")
# A backend keeps what it has read of the catalog for as long as it lives: 20 to 60 KB for each statement that is new to
# it in that institution (measured). A connection that has sent so many is replaced when its request is answered.
STATEMENTS_REMEMBERED = 8_000


class DatabaseOperations(StockOperations):
    def deferrable_sql(self) -> str:
        """Foreign keys are checked at once: Citus reports a violation at COMMIT as an internal error (SCALE 3)."""
        return " DEFERRABLE INITIALLY IMMEDIATE"

    def max_name_length(self) -> int:
        """55 of PostgreSQL's 63: Citus appends a shard's number to constraint and index names (SCALE 8)."""
        return 55


class DatabaseFeatures(StockFeatures):
    can_defer_constraint_checks = False


class DatabaseSchemaEditor(StockEditor):
    def _create_like_index_sql(self, model: Any, field: Any) -> None:
        """No second index for LIKE beside each unique text: nothing asks so, and search has its own (core.search)."""


class Loss:
    """When this process last found a connection lost, by the monotonic clock."""

    at = 0.0


_last_loss = Loss()


class DatabaseWrapper(StockWrapper):
    SchemaEditorClass = DatabaseSchemaEditor
    ops_class = DatabaseOperations
    features_class = DatabaseFeatures

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._connecting = False
        self._told: Actor | None = None
        self._told_path = ""
        self._standing: tuple[Any, Actor | None, bytes] | None = None  # context, actor and path of the open transaction
        self._opened_in = ""
        self._patience: str | None = None  # of the server, as far as known
        self._patience_stays = False  # whatever becomes of the open transaction
        self.hurried = True
        self._citus = False
        self._remembered: set[int] = set()
        self._connected_at = 0.0
        self._opening: list[str] = []
        self._rows_written: int | None = None
        super().__init__(*args, **kwargs)
        self.execute_wrappers.append(self._write_in_transaction)

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
        self._connecting, self._patience = True, None
        self._remembered = set()
        self._connected_at = time.monotonic()
        self._forget_what_was_told()
        try:
            super().connect()
            found = self.connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'citus'").fetchone()
            self._citus = found is not None
        finally:
            self._connecting = False

    @property
    def by_transaction(self) -> bool:
        """Whether a pooler in front gives each transaction any of its server's sessions (docs/adr/0055)."""
        return self.settings_dict.get("POOL_MODE") == "TRANSACTION"

    def _forget_what_was_told(self) -> None:
        self._told, self._told_path, self._standing = None, "", None

    def _set_autocommit(self, autocommit: bool) -> None:
        self._forget_what_was_told()
        super()._set_autocommit(autocommit)

    def _commit(self) -> None:
        self._forget_what_was_told()
        self._patience_stays = True
        super()._commit()

    def _rollback(self) -> None:
        self._forget_what_was_told()
        self._forget_patience()
        super()._rollback()

    def _savepoint_rollback(self, sid: str) -> None:
        """What was told since the savepoint is forgotten by the server."""
        self._forget_what_was_told()
        self._forget_patience()
        super()._savepoint_rollback(sid)

    def _forget_patience(self) -> None:
        """A rollback takes back what was set in the transaction; what stood before it stays."""
        if not self._patience_stays:
            self._patience = None

    def close_if_unusable_or_obsolete(self) -> None:
        """Asked between two requests, or tasks. Once one connection was found lost, those from before then are replaced
        unasked: a server that was restarted costs each process one refused request, and not one for each thread."""
        if self.connection is not None and self._connected_at < _last_loss.at:
            self.close()
            return
        doubtful = self.errors_occurred
        super().close_if_unusable_or_obsolete()
        if doubtful and self.connection is None:
            _last_loss.at = time.monotonic()

    def get_connection_params(self) -> dict[str, Any]:
        """How alike words must be to find each other is a setting of the session; the index asks no other."""
        parameters: dict[str, Any] = super().get_connection_params()
        if self.by_transaction:  # a session of its own is what it does not have: sent with each transaction
            return parameters
        similar = f"-c pg_trgm.word_similarity_threshold={SIMILAR_ENOUGH}"
        return {**parameters, "options": f"{parameters.get('options', '')} {similar}".strip()}

    def _handle_search_path(self, cursor: Any = None) -> None:
        """Called for every cursor: tells the server where it stands and, in a transaction, who acts."""
        if self._connecting or self._stands_as_told():
            return
        schema = self.schema_name
        inside = isinstance(current(), InstitutionContext)
        if not (INSTITUTIONS_NAME.match(schema) if inside else schema == PLATFORM.schema_name):
            raise WrongContext(f"{schema!r} is not the name of an institution's schema.")
        info = self.connection.info
        status = info.transaction_status
        if status == TransactionStatus.INERROR:  # only a rollback can follow, let it through
            return
        self._opened_in = schema
        # Temporary tables last: else one of a session's own would stand before ours, also for functions that keep
        # this path and run with the owner's rights.
        path = f"{schema}, public, pg_temp" if inside else f"{schema}, pg_temp"
        patience = self._patience_of_now()
        statements = []
        if self.by_transaction:
            if self.connection.autocommit:  # nothing is asked there: what is, gets a transaction
                return
            if self._told_path != path or self._patience != patience:
                statements += self.session_variables({"pg_trgm.word_similarity_threshold": str(SIMILAR_ENOUGH)})
                statements += [f"SET LOCAL search_path = {path}", f"SET LOCAL statement_timeout = {patience}"]
                self._told_path, self._patience, self._patience_stays = path, patience, False
        # PostgreSQL 18 reports search_path to its client after SET, rollback and RESET alike, so the comparison is
        # right across savepoints and pooled connections. Older servers report nothing: there it is sent each time.
        elif info.parameter_status("search_path") != path or self._patience != patience:
            statements += [f"SET search_path = {path}", f"SET statement_timeout = {patience}"]
            self._patience, self._patience_stays = patience, self.connection.autocommit
        who = actor()
        if inside and who is not None and who is not self._told and not self.connection.autocommit:
            statements += self.session_variables({"lyceum.actor": who.announced})
            self._told = who
        if statements or self._opening:
            self._send(statements, begin=status == TransactionStatus.IDLE and not self.connection.autocommit)
        if self.connection.pgconn.transaction_status == TransactionStatus.INTRANS and not self.by_transaction:
            self._standing = current(), who, path.encode()

    def _stands_as_told(self) -> bool:
        """Whether the open transaction was told of this very context and actor, and still reads where it was told to:
        asked twice for each statement, so by identity. Never so with a server that does not report its path."""
        if self._standing is None or self.connection is None:
            return False
        context, who, path = self._standing
        return (
            context is current() and who is actor() and self.connection.pgconn.parameter_status(b"search_path") == path
        )

    def _remember(self, sql: Any) -> None:
        """Django replaces a connection that is past its time between two requests, or tasks."""
        self._remembered.add(hash((self.schema_name, sql)))
        if len(self._remembered) >= STATEMENTS_REMEMBERED:
            self.close_at = time.monotonic()

    def _patience_of_now(self) -> str:
        """How long a statement may take here. The platform's own are limited by the server's settings alone, and so is
        the owner's work on an institution."""
        context = current()
        if self.hurried and isinstance(context, InstitutionContext):
            return str(statement_timeout(context))
        return "DEFAULT"

    def _stand_here(self) -> None:
        """A cursor may be used elsewhere than it was opened: what it runs reads where the code stands now."""
        if self._connecting or self.connection is None or self._stands_as_told():
            return
        reported = self.connection.info.parameter_status("search_path") is not None
        if reported or self.by_transaction or self._opened_in != self.schema_name:
            self._handle_search_path()

    def session_variables(self, values: Mapping[str, str]) -> list[str]:
        """Statements that set variables for the rest of the transaction, on Citus' workers too (SCALE 6).

        Values are text without quotes and backslashes outside of JSON's own escapes.
        """
        spread = ["SET LOCAL citus.propagate_set_commands = 'local'"] if self._citus else []
        return spread + [f"SET LOCAL {name} = '{value}'" for name, value in values.items()]

    def _send(self, statements: list[str], *, begin: bool) -> None:
        """In one message, outside of Django's cursors: it is the connection's housekeeping, not one of the caller's
        queries. A transaction that psycopg would begin before its first statement begins with the same message."""
        text = "; ".join([*(["BEGIN"] if begin else []), *statements, *self._opening])
        with self.wrap_database_errors:
            result = self.connection.pgconn.exec_(text.encode())
            if result.status != ExecStatus.COMMAND_OK:
                self._forget_what_was_told()
                self._patience = None
                error = error_from_result(result)  # a lost connection has no SQLSTATE
                raise error if error.sqlstate else psycopg.OperationalError(str(error))
        self._rows_written = result.command_tuples or 0

    def say_first(self, sql: str, values: Sequence[Any]) -> int:
        """Run a statement that writes, by the message that begins its transaction where that has not begun; how many
        rows it wrote."""
        self.ensure_connection()
        if self.connection.autocommit or self.connection.info.transaction_status != TransactionStatus.IDLE:
            with self.cursor() as cursor:
                cursor.execute(sql, values)
                return int(cursor.rowcount)
        with self.wrap_database_errors:
            self._opening, self._rows_written = [psycopg.ClientCursor(self.connection).mogrify(sql, values)], None
        try:
            self._handle_search_path()
        finally:
            self._opening = []
        if self._rows_written is None:
            raise transaction.TransactionManagementError("A statement that a transaction begins with was not sent.")
        return self._rows_written

    def say_last(self, sql: str, values: Sequence[Any]) -> None:
        """Run the last statement of a transaction. Where that is the outermost one its COMMIT travels by the same
        message: Django's own finds nothing left to commit, and then does what waits for it (`on_commit`)."""
        ends = self.in_atomic_block and not self.savepoint_ids
        with self.cursor() as cursor:
            cursor.execute(f"{sql}; COMMIT" if ends else sql, values)

    def _write_in_transaction(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        """A statement that writes outside of any transaction gets one of its own, in which it is told who acts.

        Behind a pooler that is so for every statement, since where it reads can only be said for a transaction.
        """
        self._stand_here()
        if isinstance(current(), InstitutionContext):
            self._remember(sql)
        if self.in_atomic_block or self._connecting or not (self.by_transaction or self._is_logged(sql)):
            return execute(sql, params, many, context)
        with transaction.atomic(using=self.alias):
            self._handle_search_path()
            return execute(sql, params, many, context)

    def _is_logged(self, sql: Any) -> bool:
        return bool(WRITES.match(str(sql))) and isinstance(current(), InstitutionContext)


def ours() -> DatabaseWrapper:
    """The thread's connection, as this engine makes it."""
    wrapper = connections["default"]
    assert isinstance(wrapper, DatabaseWrapper)
    return wrapper
