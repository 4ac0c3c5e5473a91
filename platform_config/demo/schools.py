"""The three schools: their calendar, places, grades and subjects."""

from dataclasses import dataclass
from datetime import date

from platform_config.demo.names import ENGLISH, FRENCH, GERMAN, NameStock
from shared_apps.core.registry import NewInstitution


@dataclass(frozen=True, slots=True)
class CampusPlan:
    code: str
    name: str
    address: str
    postal_code: str
    city: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class GradePlan:
    """A grade level, the usual age in it on the first day of the year, and the campus on which it is taught."""

    code: str
    name: str
    age: int
    campus: str

    @property
    def ceds(self) -> str:
        """The grade of this age in CEDS, whose grade 1 begins at six: a roster's grades then fall in between."""
        return f"{self.age - 5:02}"


@dataclass(frozen=True, slots=True)
class TermPlan:
    """A term: `starts` is (month, day) in the school year; it ends where the next one, or the year after, starts."""

    name: str
    starts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SchoolPlan:
    """Everything about a school that isn't drawn by chance. `homeroom` is a pattern of {grade} and {letter}."""

    new: NewInstitution
    short_name: str
    country: str
    students: int
    names: NameStock
    phone: str
    mobile: str
    campuses: tuple[CampusPlan, ...]
    grades: tuple[GradePlan, ...]
    year_starts: tuple[int, int]
    term_kind: str
    terms: tuple[TermPlan, ...]
    subjects: tuple[tuple[str, str], ...]
    homeroom_course: str
    homeroom: str
    room: str
    positions: tuple[str, ...]

    @property
    def slug(self) -> str:
        return self.new.slug

    def year_start(self, today: date) -> date:
        """The first day of the school year that `today` lies in."""
        start = date(today.year, *self.year_starts)
        return start if start <= today else date(today.year - 1, *self.year_starts)


GREENWOOD = SchoolPlan(
    new=NewInstitution(
        "Greenwood High School", "greenwood", language="en", currency="USD", time_zone="America/New_York"
    ),
    short_name="Greenwood",
    country="US",
    students=600,
    names=ENGLISH,
    # 555-0100 to 555-0199 belong to nobody.
    phone="+1 212 555 01{:02}",
    mobile="+1 646 555 01{:02}",
    campuses=(
        CampusPlan("MAIN", "Main Campus", "1 Greenwood Avenue", "10027", "New York", "NY"),
        CampusPlan("NORTH", "North Campus", "240 Riverside Road", "10701", "Yonkers", "NY"),
    ),
    grades=(
        GradePlan("9", "Grade 9", 14, "NORTH"),
        GradePlan("10", "Grade 10", 15, "MAIN"),
        GradePlan("11", "Grade 11", 16, "MAIN"),
        GradePlan("12", "Grade 12", 17, "MAIN"),
    ),
    year_starts=(8, 24),
    term_kind="semester",
    terms=(TermPlan("Fall semester", (8, 24)), TermPlan("Spring semester", (1, 20))),
    subjects=(
        ("ENG", "English"),
        ("MATH", "Mathematics"),
        ("SCI", "Science"),
        ("HIST", "History"),
        ("SPAN", "Spanish"),
    ),
    homeroom_course="Homeroom",
    homeroom="{grade}{letter}",
    room="Room {:03}",
    positions=("Principal", "Assistant principal", "School counselor", "School nurse", "Office manager"),
)

LUMIERE = SchoolPlan(
    new=NewInstitution("Lycée Lumière", "lumiere", language="fr", currency="EUR", time_zone="Europe/Paris"),
    short_name="Lumière",
    country="FR",
    students=1200,
    names=FRENCH,
    # Kept for works of fiction by the French regulator.
    phone="+33 1 99 00 12 {:02}",
    mobile="+33 6 39 98 34 {:02}",
    campuses=(
        CampusPlan("LYC", "Site du lycée", "12, rue des Frères-Lumière", "75013", "Paris", "Île-de-France"),
        CampusPlan("COL", "Site du collège", "3, allée Méliès", "94200", "Ivry-sur-Seine", "Île-de-France"),
    ),
    grades=(
        GradePlan("6e", "Sixième", 11, "COL"),
        GradePlan("5e", "Cinquième", 12, "COL"),
        GradePlan("4e", "Quatrième", 13, "COL"),
        GradePlan("3e", "Troisième", 14, "COL"),
        GradePlan("2de", "Seconde", 15, "LYC"),
        GradePlan("1re", "Première", 16, "LYC"),
        GradePlan("Tle", "Terminale", 17, "LYC"),
    ),
    year_starts=(9, 1),
    term_kind="term",
    terms=(
        TermPlan("Premier trimestre", (9, 1)),
        TermPlan("Deuxième trimestre", (12, 1)),
        TermPlan("Troisième trimestre", (3, 15)),
    ),
    subjects=(
        ("FRA", "Français"),
        ("MAT", "Mathématiques"),
        ("SVT", "Sciences de la vie et de la Terre"),
        ("HGE", "Histoire-géographie"),
        ("ANG", "Anglais"),
    ),
    homeroom_course="Vie de classe",
    homeroom="{grade} {letter}",
    room="Salle {:03}",
    positions=("Proviseure", "Proviseure adjointe", "Conseiller principal d'éducation", "Infirmière", "Secrétaire"),
)

RHEINTAL = SchoolPlan(
    new=NewInstitution("Rheintal-Gymnasium", "rheintal", language="de", currency="EUR", time_zone="Europe/Berlin"),
    short_name="Rheintal",
    country="DE",
    students=900,
    names=GERMAN,
    # Kept for works of fiction by the German regulator.
    phone="+49 30 23125 0{:02}",
    mobile="+49 176 040690 {:02}",
    campuses=(
        CampusPlan("HAUPT", "Hauptgebäude", "Rheinallee 40", "56068", "Koblenz", "Rheinland-Pfalz"),
        CampusPlan("ORI", "Orientierungsstufe am Mühlbach", "Am Mühlbach 7", "56073", "Koblenz", "Rheinland-Pfalz"),
    ),
    grades=(
        GradePlan("5", "Klasse 5", 10, "ORI"),
        GradePlan("6", "Klasse 6", 11, "ORI"),
        GradePlan("7", "Klasse 7", 12, "HAUPT"),
        GradePlan("8", "Klasse 8", 13, "HAUPT"),
        GradePlan("9", "Klasse 9", 14, "HAUPT"),
        GradePlan("10", "Klasse 10", 15, "HAUPT"),
        GradePlan("11", "Jahrgangsstufe 11", 16, "HAUPT"),
        GradePlan("12", "Jahrgangsstufe 12", 17, "HAUPT"),
    ),
    year_starts=(8, 1),
    term_kind="semester",
    terms=(TermPlan("1. Halbjahr", (8, 1)), TermPlan("2. Halbjahr", (2, 1))),
    subjects=(
        ("DEU", "Deutsch"),
        ("MAT", "Mathematik"),
        ("NAT", "Naturwissenschaften"),
        ("GES", "Geschichte"),
        ("ENG", "Englisch"),
    ),
    homeroom_course="Klassenstunde",
    homeroom="{grade}{letter}",
    room="Raum {:03}",
    positions=("Schulleiterin", "Stellvertretender Schulleiter", "Schulsozialarbeiter", "Schulärztin", "Sekretärin"),
)

SCHOOLS = (GREENWOOD, LUMIERE, RHEINTAL)
