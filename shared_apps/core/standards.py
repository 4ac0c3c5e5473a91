"""Codes of standards, checked wherever somebody gives one."""

import re
from functools import cache, lru_cache
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError

LANGUAGE_TAG = re.compile(r"\A[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,7}\Z")  # the language in RFC 5646's own case


def language_tag(value: str) -> None:
    """Refuses what is no language tag of BCP 47, or names a language, script or variant that the registry lacks."""
    if not LANGUAGE_TAG.match(value) or not _registered(value):
        raise ValidationError("Use a language tag of BCP 47, such as en or pt-BR.")


@lru_cache(maxsize=512)
def _registered(tag: str) -> bool:
    """Takes 9 us, which an import of 20,000 people would notice."""
    from langcodes import tag_is_valid  # the registry takes 10 MB, which a process that checks none does without

    return bool(tag_is_valid(tag))


@cache
def _time_zones() -> frozenset[str]:
    """Reads a directory of 600 files. "localtime" is what this server is set to, and a name of no place."""
    return frozenset(available_timezones()) - {"localtime"}


def time_zone_name(value: str) -> None:
    """Refuses what is not in the IANA time zone database."""
    if value not in _time_zones():
        raise ValidationError(
            "%(value)s is not a time zone of the IANA database, such as Europe/Paris.", params={"value": value}
        )
