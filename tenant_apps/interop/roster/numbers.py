"""Numbers and codes that must be unique in the institution: a student's, a staff member's, a campus's code.

A row's wishes come from the roster (`identifier`, else `username`, else sourcedId). The outcome depends on the rows
alone, never on their order in the file, so a second import of the same file gives everybody the same number again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

from tenant_apps.interop.oneroster.findings import quoted
from tenant_apps.interop.roster.findings import PlanCode, PlanLog


class Wish(NamedTuple):
    """A number, and the column that carries it."""

    column: str
    number: str


class Claim(NamedTuple):
    """A row that needs a number. `wishes`: most wanted first."""

    sourced_id: str
    line: int
    wishes: tuple[Wish, ...]


def wishes_of(limit: int, *, sourced_id: str, identifier: str, username: str = "") -> tuple[Wish, ...]:
    """What a row could be numbered with, in order. A sourcedId that is too long ends in a digest."""
    key = sourced_id
    if len(key) > limit:
        key = f"{key[: limit - 9]}-{sha256(key.encode()).hexdigest()[:8]}"
    found = (Wish("identifier", identifier), Wish("username", username), Wish("sourcedId", key))
    return tuple(wish for wish in found if wish.number and len(wish.number) <= limit)


def give_numbers(
    claims: Iterable[Claim],
    *,
    holders: Mapping[str, str | None],
    noun: str,
    file: str,
    log: PlanLog,
) -> dict[str, str]:
    """The number of each claim, by sourced_id.

    `holders`: number -> sourced_id of the row that has it now (None: a row made by hand). A number held by a row that
    this roster does not hold is an error; one that several rows of the roster wish for goes to whoever has it already,
    else to the lowest sourced_id, and the others get their next wish, with a warning.
    """
    claims = list(claims)
    in_roster = {claim.sourced_id for claim in claims}
    own = {sourced_id: number for number, sourced_id in holders.items() if sourced_id in in_roster}
    given: dict[str, str] = {}
    owners: dict[str, str] = {}
    for claim in sorted(claims, key=lambda claim: _turn(claim, own)):
        for wish in _wishes(claim, own.get(claim.sourced_id)):
            if wish.number in owners:
                detail = (
                    f"{quoted(wish.number)} is also the {noun} of {quoted(owners[wish.number])}; another one is given "
                    "here: correct the roster."
                )
                log.note("warning", PlanCode.NUMBER_SHARED, detail, file=file, line=claim.line, column=wish.column)
                continue
            holder = holders.get(wish.number, claim.sourced_id)
            if holder is None or holder not in in_roster:
                whose = "a row made by hand" if holder is None else quoted(holder)
                detail = (
                    f"The {noun} {quoted(wish.number)} belongs to {whose}, who is not in this roster: give another one "
                    "here, or change that row first."
                )
                log.note("error", PlanCode.NUMBER_TAKEN, detail, file=file, line=claim.line, column=wish.column)
            given[claim.sourced_id] = owners_number = wish.number
            owners[owners_number] = claim.sourced_id
            break
        else:
            detail = f"No {noun} is left for this row: give it an identifier of its own."
            log.note("error", PlanCode.NUMBER_TAKEN, detail, file=file, line=claim.line, column="identifier")
            given[claim.sourced_id] = claim.sourced_id
    return given


def _turn(claim: Claim, own: Mapping[str, str]) -> tuple[bool, str]:
    """Who already has what they wish for comes first."""
    present = own.get(claim.sourced_id)
    return _wishes(claim, present)[0].number != present, claim.sourced_id


def _wishes(claim: Claim, present: str | None) -> tuple[Wish, ...]:
    """A row that has a number keeps it, unless the roster says another one."""
    if present is None:
        return claim.wishes
    said = tuple(wish for wish in claim.wishes if wish.column == "identifier")
    return (*said, Wish("sourcedId", present), *(wish for wish in claim.wishes if wish.column != "identifier"))


def in_the_way(given: Mapping[str, str], holders: Mapping[str, str | None]) -> set[str]:
    """sourced_ids of rows that give up a number which another row of the same import takes over."""
    takers = {number: sourced_id for sourced_id, number in given.items()}
    return {
        holder
        for number, holder in holders.items()
        if holder is not None and holder in given and given[holder] != number and takers.get(number, holder) != holder
    }
