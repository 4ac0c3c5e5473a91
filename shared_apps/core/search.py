"""Text search: what people type finds what was written, whatever the accents, apostrophes and small mistakes.

Text and question are folded by the same function of the database (`public.lyceum_fold`, tenants' migration 0002), so
that Müller, Mueller and Muller are one, and O’Neill, O'Neill and ONeill. A model that is searched often keeps its
folded text in a stored column with a trigram index:

    search_text = folded_text("given_name", "family_name")
    indexes = [folded_index("school_student_by_text")]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from unicodedata import category

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Coalesce, Concat

COLUMN = "search_text"
DISTANCE = "search_distance"
SIMILAR_ENOUGH = 0.33
"""Of a question's trigrams, how many one stretch of the text must share (pg_trgm.word_similarity_threshold, set for
every connection by the engine). Jonhson and Johnson share 0.333, two letters exchanged; at 0.45 they would not meet."""
FUZZY_LETTERS = 4
PREFIX_LETTERS = 2


class Folded(Func):
    """The folded texts of columns, each with a space before it: `LIKE '% an%'` finds the words that begin with an."""

    function = "public.lyceum_fold"
    template = "%(function)s(' ' || %(expressions)s)"
    arg_joiner = " || ' ' || "
    output_field = models.TextField()


class FoldedWord(Func):
    """A folded word of a question."""

    function = "public.lyceum_fold"
    output_field = models.TextField()


class _Similar(Func):
    """Whether a stretch of the text resembles the word; a trigram index answers it."""

    template = "(%(expressions)s)"
    arg_joiner = " OPERATOR(public.<%%) "
    output_field = models.BooleanField()


class _Alike(Func):
    """The same, more closely for a short word; see tenants' migration 0002."""

    function = "public.lyceum_alike"
    output_field = models.BooleanField()


class _Nearness(Func):
    """From 2 (the word as typed) over 1.75 (a beginning) and 1.5 (a part) down to resemblance, below 1.

    Comparing trigrams takes 5 us a row, looking for a text a fiftieth of that; thousands of rows hold a common name.
    """

    template = (
        "CASE WHEN strpos(%(text)s || ' ', ' ' || %(word)s || ' ') > 0 THEN 2"
        " WHEN strpos(%(text)s, ' ' || %(word)s) > 0 THEN 1.75"
        " WHEN strpos(%(text)s, %(word)s) > 0 THEN 1.5"
        " ELSE public.word_similarity(%(word)s, %(text)s) END"
    )
    output_field = models.FloatField()

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, tuple[Any, ...]]:
        word, text = self.get_source_expressions()
        word_sql, word_parameters = compiler.compile(word)
        text_sql, text_parameters = compiler.compile(text)
        parameters = (*text_parameters, *word_parameters) * 3 + (*word_parameters, *text_parameters)
        return self.template % {"word": word_sql, "text": text_sql}, parameters


class _Distance(Func):
    """Whole thousandths, the nearest first, so that a cursor can hold it."""

    template = "(-1000 * (%(expressions)s))::int"
    arg_joiner = " + "
    output_field = models.IntegerField()


def folded_text(*columns: str) -> models.GeneratedField:
    """The stored column of a model, over columns of its own that are never null."""
    return models.GeneratedField(expression=Folded(*columns), output_field=models.TextField(), db_persist=True)


def folded_index(name: str) -> GinIndex:
    """The trigram index over the stored column.

    It is kept up to date with each row: with a list of pending entries beside it, every search after an import would
    read that list too, and the planner would rather read the whole table (20,000 people: 83 ms instead of 3).
    """
    return GinIndex(fields=(COLUMN,), opclasses=("gin_trgm_ops",), fastupdate=False, name=name)


def stored_columns(model: type[models.Model]) -> set[str]:
    """The columns that the model's stored text was made of; empty when it has none."""
    for field in model._meta.concrete_fields:
        if field.name == COLUMN and isinstance(field, models.GeneratedField):
            return {source.name for source in field.expression.get_source_expressions()}
    return set()


class Reach(IntEnum):
    """How far a word reaches, the farthest first."""

    FUZZY = 0
    WITHIN = 1
    BEGINNING = 2


@dataclass(frozen=True, slots=True, order=True)
class Word:
    """A word of a question."""

    reach: Reach
    text: str


def words_of(text: str) -> tuple[Word, ...]:
    """The words of a question, those of one reach together.

    Digits and addresses are meant literally. One or two letters stand for the beginning of a word: within words they
    would be found nearly everywhere. Scripts without capitals (Chinese, Korean, Arabic) write names with so few.
    """
    found = []
    for word in text.split():
        if any(letter.isdigit() or letter == "@" for letter in word):
            reach = Reach.WITHIN
        elif sum(letter.isalpha() for letter in word) >= FUZZY_LETTERS:
            reach = Reach.FUZZY
        else:
            short = len(word) <= PREFIX_LETTERS and not any(category(letter) == "Lo" for letter in word)
            reach = Reach.BEGINNING if short else Reach.WITHIN
        found.append(Word(reach, word))
    return tuple(sorted(found, key=lambda word: word.reach))


class Searcher:
    """Searches the columns of one resource."""

    def __init__(self, model: type[models.Model], columns: Sequence[str]) -> None:
        self.stored = bool(stored_columns(model))
        self.columns = columns

    def prepared(self, rows: models.QuerySet) -> models.QuerySet:
        """The rows with their folded text at hand, for `matches` and `distance`."""
        if self.stored:
            return rows
        texts = [Coalesce(F(column), Value(""), output_field=models.TextField()) for column in self.columns]
        return rows.alias(**{COLUMN: Folded(*texts)})

    def matches(self, reach: Reach, word: Any) -> Q:
        """Rows whose text holds the word, or, if it is fuzzy, something like it."""
        folded = FoldedWord(Value(word))
        if reach is Reach.BEGINNING:
            return Q(**{f"{COLUMN}__contains": Concat(Value(" "), folded, output_field=models.TextField())})
        found = Q(**{f"{COLUMN}__contains": folded})
        if reach is not Reach.FUZZY:
            return found
        # The first of the two is the index's own condition to the letter, so that it is not asked a second time.
        return (found | Q(_Similar(folded, F(COLUMN)))) & (found | Q(_Alike(folded, F(COLUMN))))

    def distance(self, words: Sequence[Any]) -> Func:
        """How far a row is from the whole question; a word that stands in it as typed outweighs any resemblance."""
        return _Distance(*(_Nearness(FoldedWord(Value(word)), F(COLUMN)) for word in words))
