"""What a developer says of a new resource, read and checked: `copy:text(40)! borrower:school.Student due_on:day?`."""

import keyword
import re
from dataclasses import dataclass

from django.core.management.base import CommandError

PLAIN = re.compile(r"\A[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")
CLASS = re.compile(r"\A[A-Z][A-Za-z0-9]*\Z")
SPEC = re.compile(
    r"\A(?P<name>[^:]+):(?P<kind>[a-z]+|[a-z_]+\.[A-Z]\w*)(?:\((?P<size>[0-9]{1,4})\))?(?P<marks>[?!]*)\Z"
)
# Columns that every record has, and words of the lists' query strings.
TAKEN_FIELDS = frozenset(
    "id pk created_at updated_at objects search_text page page_size cursor count search ordering fields include format"
    " all clean save delete check".split()
)
TAKEN_ROOMS = frozenset("auth platform test tests api docs schema health metrics jobs".split())
COLUMNS = {
    "text": "models.CharField(max_length={size}{empty})",
    "note": "models.TextField(blank=True)",
    "email": "models.EmailField({empty})",
    "day": "models.DateField({nullable})",
    "moment": "models.DateTimeField({nullable})",
    "number": "models.IntegerField({nullable})",
    "count": "models.PositiveIntegerField({nullable})",
    "flag": "models.BooleanField(default=False)",
}
RANGED = ("day", "moment", "number", "count")


@dataclass(frozen=True, slots=True)
class Column:
    """One field of the new model. `kind` is a word of COLUMNS, or the model that it refers to (`school.Campus`)."""

    name: str
    kind: str
    size: int
    optional: bool
    unique: bool

    @property
    def refers(self) -> bool:
        return "." in self.kind

    def code(self, plural: str) -> str:
        """The field's declaration."""
        if self.refers:
            nullable = "null=True, blank=True, " if self.optional else ""
            return f'models.ForeignKey("{self.kind}", {nullable}on_delete=models.PROTECT, related_name="{plural}")'
        empty = "blank=True" if self.optional else ""
        if self.kind == "text" and empty:
            empty = f", {empty}"
        nullable = "null=True, blank=True" if self.optional else ""
        return COLUMNS[self.kind].format(size=self.size, empty=empty, nullable=nullable)


def column(text: str) -> Column:
    """Read `name:kind`, `name:text(40)`, with `?` for one that may be empty and `!` for one of the key."""
    found = SPEC.match(text)
    if found is None:
        raise CommandError(f"{text!r} is no field: write name:kind, such as due_on:day? or campus:school.Campus.")
    name, kind, marks = found["name"], found["kind"], found["marks"]
    if not PLAIN.match(name) or keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in TAKEN_FIELDS:
        raise CommandError(f"A field cannot be called {name!r}.")
    if "." not in kind and kind not in COLUMNS:
        raise CommandError(f"There is no kind of field {kind!r}; there are {', '.join(COLUMNS)} and room.Model.")
    if "?" in marks and "!" in marks:
        raise CommandError(f"{name} cannot be empty and a part of the key.")
    return Column(name, kind, int(found["size"] or 200), "?" in marks, "!" in marks)


def columns(texts: list[str]) -> list[Column]:
    """All of them. Raises CommandError for none, for a name given twice, and for several texts as one key."""
    found = [column(text) for text in texts]
    names = [each.name for each in found]
    if not found:
        raise CommandError("Give at least one field, such as name:text.")
    if len(set(names)) < len(names):
        raise CommandError("A field is given twice.")
    return found


def room_name(name: str) -> str:
    """The name of a new room. Raises CommandError."""
    if not PLAIN.match(name) or "_" in name or keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise CommandError(f"A room cannot be called {name!r}: one word of small letters, such as library.")
    if name in TAKEN_ROOMS:
        raise CommandError(f"{name!r} is taken by the platform.")
    return name


def model_name(name: str) -> str:
    """The name of a new model. Raises CommandError."""
    if not CLASS.match(name) or keyword.iskeyword(name) or name in ("Record", "Meta", "Model"):
        raise CommandError(f"A model cannot be called {name!r}: a singular in capitals, such as LibraryCard.")
    return name


def spaced(name: str) -> str:
    """`LibraryCard` -> `library card`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower()


def plural_of(words: str) -> str:
    """A guess: `library card` -> `library cards`, `entry` -> `entries`, `box` -> `boxes`."""
    if re.search(r"[^aeiou]y\Z", words):
        return words[:-1] + "ies"
    return words + ("es" if re.search(r"(s|x|z|ch|sh)\Z", words) else "s")
