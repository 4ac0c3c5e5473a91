"""The rows both peers hold: 1,200 students, the same at every run."""

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random
from typing import Any

STUDENTS = 1_200
_GIVEN = (
    "Ada",
    "Ben",
    "Chloé",
    "David",
    "Élodie",
    "Finn",
    "Grace",
    "Hannah",
    "Ivan",
    "Jürgen",
    "Kofi",
    "Lena",
)
_FAMILY = ("Adeyemi", "Baker", "Çelik", "Dubois", "Evans", "Fischer", "García", "Müller", "O'Neil", "Șerban")
_PLACES = ("Albany", "Bonn", "Créteil", "Dresden", "Évry", "Freeport")


def student_rows(count: int = STUDENTS) -> Iterator[dict[str, Any]]:
    """Yields the plain columns of `count` students; keys, campus, grade level and user are the peer's own."""
    chance = Random(1729)
    for number in range(1, count + 1):
        given = chance.choice(_GIVEN)
        yield {
            "student_number": f"S{number:06d}",
            "sourced_id": f"bench-student-{number:06d}",
            "given_name": given,
            "middle_name": chance.choice(_GIVEN) if number % 3 == 0 else "",
            "family_name": chance.choice(_FAMILY),
            "preferred_given_name": given[:3] if number % 7 == 0 else "",
            "preferred_family_name": "",
            "birth_date": date(2008, 9, 1) + timedelta(days=chance.randrange(3_650)),
            "sex": chance.choice(("female", "male")),
            "pronouns": "",
            "email": f"student{number}@greenwood.test",
            "phone": f"+1 518 555 {number:04d}",
            "mobile_phone": "",
            "language": "en",
            "nationality": "US",
            "birth_place": chance.choice(_PLACES),
            "state": "enrolled",
            "joined_on": date(2024, 9, 2),
            "left_on": None,
            "notes": "Takes the early bus." if number % 10 == 0 else "",
        }
