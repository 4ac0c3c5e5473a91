"""20,000 people with the mixed names of a large school, and what an office types to find them."""

from collections.abc import Iterator
from random import Random
from typing import Any

PEOPLE = 20_000
GIVEN = (
    "Maria Anna Michael Thomas Mohammed Muhammad Ahmed Ali Sofia Sophie Emma Olivia Noah Liam Lucas Lukas Leon "
    "Jürgen Zoë Chloé Élodie François José Juan Carlos Ana Beatriz João Mária Łukasz Agnieszka Katarzyna Piotr "
    "Ivan Olga Мария Иван 伟 芳 محمد فاطمة Yusuf Ayşe Fatma Mehmet Björn Åsa Søren Anders Niamh Siobhán Seán "
    "Patrick Kwame Amara Chinedu Priya Rahul Arjun Wei Jing Hiroshi Yuki Min-jun Ji-woo Jean-Pierre Anne-Marie "
    "Mary-Kate David Daniel Samuel Joel"
).split()
FAMILY = (
    "Müller Mueller Muller Schmidt Schneider Fischer Weber Meyer Meier Maier Wagner Becker Schulz Hoffmann "
    "Koch Bauer Smith Johnson Williams Brown Jones Garcia García Miller Davis Rodriguez Rodríguez Martinez "
    "Hernandez Lopez Gonzalez Wilson Anderson Taylor Thomas Moore Jackson Martin Lee Thompson White Harris "
    "Clark Lewis Walker O’Neill O'Neill ONeill O’Brien D'Angelo Ångström Sørensen Nielsen Jensen Hansen Larsen "
    "Nguyen Tran Li Wang Zhang 张 王 Kowalski Nowak Wiśniewski Иванов Петров العربي Yılmaz Kaya Demir Çelik "
    "Öztürk Silva Santos Oliveira Dubois Lefèvre Bernard Petit Rossi Russo Okafor Adeyemi Nkrumah Patel Sharma "
    "Singh Smith-Jones Müller-Lüdenscheidt McDonald Wojciechowski"
).split()
QUESTIONS = (
    "smith", "mueller", "Micheal", "Jonhson", "ma", "a", "mar", "maria", "Marie", "maria smith", "mohamed smiht",
    "S0012", "o'neil", "Wojciehowski", "anna m", "Мария", "伟", "mria smth", "jose garcia", "Øzturk", "nguyen anna",
    "schmid", "kowalsky", "S001234",
)  # fmt: skip


def people(count: int = PEOPLE) -> Iterator[dict[str, Any]]:
    """Yields names, addresses and numbers, the same at every run; some names are far commoner than others."""
    chance = Random(5)
    given_weights = [1 / (place + 8) for place in range(len(GIVEN))]
    family_weights = [1 / (place + 3) for place in range(len(FAMILY))]
    for number in range(count):
        family = chance.choices(FAMILY, family_weights)[0]
        yield {
            "student_number": f"S{number:06d}",
            "given_name": chance.choices(GIVEN, given_weights)[0],
            "family_name": family + (chance.choice(("", "s", "er", "mann")) if number % 3 == 0 else ""),
            "email": f"student{number}@greenwood.test",
        }
