"""An export: the rows of a list, all of them, as a table.

The rows are read to their end into a spool before the first byte is sent: a slow reader holds a file, never a
transaction, and a defect in the middle is a refusal and not a table that is cut short.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import get_resolver

from shared_apps.core.api.permissions import missing
from shared_apps.core.api.querystring import ListRequest, bad, pairs, refuse_unknown
from shared_apps.core.api.reading import Sight, sight
from shared_apps.core.api.served import resources
from shared_apps.core.clock import local_date
from shared_apps.core.errors import NotFound
from shared_apps.core.permissions import Principal
from shared_apps.core.tables.columns import columns_of
from shared_apps.core.tables.formats import CSV, XLSX, write_table

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

MOST_AT_ONCE = 10_000  # rows; more are a worker's work
READ_AT_ONCE = 2_000
SPOOLED_IN_MEMORY = 1024 * 1024
PAGING = ("cursor", "page", "page_size", "count", "include")
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Export:
    """What is asked for, checked: rows that the principal may export, and how they are written."""

    resource: "type[ResourceViewSet]"
    principal: Principal
    seen: Sight
    asked: ListRequest
    form: str

    @property
    def name(self) -> str:
        """The file's name: "students 2026-09-01.csv"."""
        plural = str(self.resource.permission.value.plural)
        return f"{plural} {local_date().isoformat()}.{self.form}"

    @property
    def rows(self) -> QuerySet:
        return self.resource.reader().rows(self.seen, self.asked)

    def count(self, most: int | None = None) -> int:
        """How many rows there are, counted no further than `most`."""
        if self.seen.nothing:
            return 0
        rows = self.rows.order_by().values("pk")
        return (rows if most is None else rows[:most]).count()

    def spool(self, told: Told = lambda done: None) -> BinaryIO:
        """The table in a file that goes away when it is closed, read from its beginning. `told` hears how many rows
        are written so far."""
        columns = columns_of(self.resource, self.asked.shape.fields or self.resource.all_fields, self.principal)
        title = str(self.resource.permission.value.plural).capitalize()
        spool: Any = tempfile.SpooledTemporaryFile(max_size=SPOOLED_IN_MEMORY)  # noqa: SIM115 - the caller's
        try:
            with transaction.atomic():
                write_table(spool, self.form, columns, self._values([c.path for c in columns], told), title=title)
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        return spool

    def _values(self, paths: list[str], told: Told) -> Iterator[tuple[Any, ...]]:
        if self.seen.nothing:
            return
        for done, row in enumerate(self.rows.values_list(*paths).iterator(chunk_size=READ_AT_ONCE)):
            if done % READ_AT_ONCE == 0:
                told(done)
            yield row


def parameters_of(resource: "type[ResourceViewSet]") -> tuple[str, ...]:
    """The query parameters of an export: the list's own but for paging, and `format`."""
    return ("format", *(name for name in resource.reader().grammar.known if name not in PAGING))


def read_export(resource: "type[ResourceViewSet]", query_string: str, principal: Principal) -> Export:
    """Raises Forbidden without the right to export, Invalid for parameters that do not hold."""
    code = resource.export_code()
    reaches = principal.reaches(code)
    if not reaches:
        raise missing(code)
    given = pairs(query_string)
    refuse_unknown(given, parameters_of(resource))
    form = dict(given).get("format", CSV)
    if form not in (CSV, XLSX):
        raise bad("format", "format is csv or xlsx.", "bad_format")
    asked = resource.reader().grammar.read(urlencode([pair for pair in given if pair[0] != "format"]))
    return Export(resource, principal, sight(principal, reaches, resource.scopes), asked, form)


def resource_named(name: str) -> "type[ResourceViewSet]":
    """The resource behind `name_of`. Raises NotFound for one that a release has taken away."""
    for urlconf in settings.URLCONF_BY_KIND.values():
        _ = get_resolver(urlconf).url_patterns  # a worker has served nothing yet, so no resource has its address
    for resource in resources:
        if resource.routed and name_of(resource) == name:
            return resource
    raise NotFound(f"There is no resource {name} any more.")


def name_of(resource: "type[ResourceViewSet]") -> str:
    """How a job names a resource: `school.StudentViewSet`."""
    return f"{resource.room}.{resource.__name__}"
