"""What may stand in a text that people read: no control characters, no marks that turn the reading direction.

A bell, a form feed or a right-to-left override in a name is a slip or a trick; it breaks lists, exports and receipts.
"""

import re

from django.core.exceptions import ValidationError
from django.db import models

# C0 and C1 controls (ISO 6429), line and paragraph separators, and bidirectional overrides and isolates (UAX 9).
_IN_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_IN_A_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
CODE = "control_character"


def stray(value: str, *, lines: bool = False) -> str | None:
    """The first character that has no place in the text, as `U+0007`; `lines` allows line breaks and tabs."""
    found = (_IN_A_TEXT if lines else _IN_A_LINE).search(value)
    return f"U+{ord(found[0]):04X}" if found else None


def demand_plain(value: str, *, lines: bool = False) -> None:
    """Raises ValidationError with the code `control_character`."""
    found = stray(value, lines=lines)
    if found is not None:
        raise ValidationError(f"The text holds the invisible character {found}; remove it.", CODE)


def demand_plain_fields(record: models.Model, exclude: set[str]) -> None:
    """The same for every text column of a row. Raises ValidationError, by field."""
    errors = {}
    for field in record._meta.concrete_fields:
        if not isinstance(field, models.CharField | models.TextField) or field.name in exclude:
            continue
        value = getattr(record, field.attname)
        if isinstance(value, str):
            try:
                demand_plain(value, lines=isinstance(field, models.TextField))
            except ValidationError as refused:
                errors[field.name] = refused
    if errors:
        raise ValidationError(errors)
