"""Families and teachers, drawn by chance from a fixed seed: the same people at every run.

Nothing here touches the database.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from platform_config.demo.schools import SchoolPlan

# Children at the school per family, and how often.
CHILDREN = ((1, 55), (2, 33), (3, 12))
# How a family is made up, and how often.
MAKEUP = (("one name", 58), ("two names", 16), ("single", 12), ("patchwork", 10), ("separated", 4))
TWINS = 0.04


@dataclass(slots=True)
class Adult:
    number: int
    given_name: str
    family_name: str
    sex: str


@dataclass(slots=True)
class Tie:
    """What an adult is to a child, and may."""

    adult: Adult
    relation: str
    custody: str = "full"
    may_see_records: bool = True
    may_collect: bool = True
    pays: bool = False
    call_order: int = 1


@dataclass(slots=True)
class Child:
    number: int
    given_name: str
    family_name: str
    sex: str
    grade: int
    ties: list[Tie] = field(default_factory=list)
    homeroom: int = -1


def weighted(chance: Random, choices: tuple[tuple[object, int], ...]) -> object:
    return chance.choices([value for value, _ in choices], [weight for _, weight in choices])[0]


class Population:
    """The families of one school. Family 0 is the demo guardian's: three children in three grades; the first child of
    family 1 is the demo student."""

    def __init__(self, plan: SchoolPlan) -> None:
        self.plan = plan
        self.chance = Random(f"lyceum demo {plan.slug}")  # noqa: S311
        self.children: list[Child] = []
        self.adults: list[Adult] = []
        share, rest = divmod(plan.students, len(plan.grades))
        self._places = [share + (index < rest) for index in range(len(plan.grades))]
        self._family_of_guardian()
        while len(self.children) < plan.students:
            self._family(min(int(str(weighted(self.chance, CHILDREN))), plan.students - len(self.children)))

    # Drawing --------------------------------------------------------------------------------------------------

    def adult(self, sex: str, family_name: str) -> Adult:
        names = self.plan.names.female if sex == "female" else self.plan.names.male
        grown_up = Adult(len(self.adults), self.chance.choice(names), family_name, sex)
        self.adults.append(grown_up)
        return grown_up

    def _name(self) -> str:
        return self.chance.choice(self.plan.names.family)

    def _child(self, family_name: str, grade: int, taken: set[str]) -> Child:
        sex = self.chance.choice(("female", "male"))
        names = self.plan.names.female if sex == "female" else self.plan.names.male
        given = self.chance.choice([name for name in names if name not in taken])
        taken.add(given)
        self._places[grade] -= 1
        child = Child(len(self.children), given, family_name, sex, grade)
        self.children.append(child)
        return child

    def _grades(self, count: int) -> list[int]:
        """Grades with places left for siblings: different ones, save for twins or when no other has a place."""
        if count == 2 and self.chance.random() < TWINS:
            roomy = [grade for grade, left in enumerate(self._places) if left >= 2]
            if roomy:
                return [self.chance.choice(roomy)] * 2
        left = list(self._places)
        chosen: list[int] = []
        for _ in range(count):
            open_grades = [grade for grade, places in enumerate(left) if places > 0]
            fresh = [grade for grade in open_grades if grade not in chosen] or open_grades
            grade = self.chance.choices(fresh, [left[g] for g in fresh])[0]
            left[grade] -= 1
            chosen.append(grade)
        return sorted(chosen, reverse=True)

    # Families -------------------------------------------------------------------------------------------------

    def _family_of_guardian(self) -> None:
        name = self._name()
        mother, father = self.adult("female", name), self.adult("male", self._name())
        taken: set[str] = set()
        last = len(self.plan.grades) - 1
        for grade in (last, last // 2, 0):
            child = self._child(name, grade, taken)
            child.ties = [Tie(mother, "mother", pays=True), Tie(father, "father", call_order=2)]

    def _family(self, count: int) -> None:
        makeup = weighted(self.chance, MAKEUP)
        grades = self._grades(count)
        taken: set[str] = set()
        name, other = self._name(), self._name()
        mother = self.adult("female", name)
        if makeup == "single":
            for grade in grades:
                self._child(name, grade, taken).ties = [Tie(mother, "mother", pays=True)]
            return
        if makeup == "patchwork":
            self._patchwork(mother, other, grades, taken)
            return
        father = self.adult("male", name if makeup == "one name" else other)
        apart = makeup == "separated"
        named_after = self.chance.choice((name, father.family_name))
        for grade in grades:
            child = self._child(named_after, grade, taken)
            child.ties = [Tie(mother, "mother", pays=True), Tie(father, "father", call_order=2)]
            if apart:
                self._court_order(child)

    def _patchwork(self, mother: Adult, other: str, grades: list[int], taken: set[str]) -> None:
        """Children of different fathers under one roof: the eldest keeps the first father's name."""
        partner = self.adult("male", other)
        former = self.adult("male", self._name())
        for index, grade in enumerate(grades):
            eldest = index == 0
            child = self._child(former.family_name if eldest else other, grade, taken)
            child.ties = [Tie(mother, "mother", custody="shared" if eldest else "full", pays=True)]
            if eldest:
                child.ties.append(Tie(former, "father", custody="shared", call_order=3))
                child.ties.append(Tie(partner, "step_parent", custody="none", may_see_records=False, call_order=2))
            else:
                child.ties.append(Tie(partner, "father", call_order=2))

    def _court_order(self, child: Child) -> None:
        """Parents who live apart: custody is shared, or one of them has none and may not collect."""
        if self.chance.random() < 0.5:
            for tie in child.ties:
                tie.custody = "shared"
            return
        barred = child.ties[1]
        barred.custody, barred.may_see_records, barred.may_collect = "none", False, False

    # The school day -------------------------------------------------------------------------------------------

    def place_in_homerooms(self, size: int) -> list[tuple[int, int]]:
        """Spread each grade evenly over homerooms of at most `size`. Returns (grade, letter's index) per homeroom."""
        homerooms: list[tuple[int, int]] = []
        for grade in range(len(self.plan.grades)):
            members = [child for child in self.children if child.grade == grade]
            self.chance.shuffle(members)
            count = -(-len(members) // size)
            for position, child in enumerate(members):
                child.homeroom = len(homerooms) + position % count
            homerooms += [(grade, letter) for letter in range(count)]
        return homerooms

    def teachers(self, count: int) -> Iterator[tuple[str, str, str]]:
        """(given name, family name, sex) of people who work at the school."""
        for _ in range(count):
            sex = self.chance.choice(("female", "female", "male"))
            names = self.plan.names.female if sex == "female" else self.plan.names.male
            yield self.chance.choice(names), self._name(), sex
