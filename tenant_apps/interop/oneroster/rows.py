"""The typed rows of the files that are imported, one class a file.

Field names are the headers' in snake case. `line` is the physical line on which the row starts. A blank text,
enumeration or reference is "", a blank date or boolean None, a blank list (). End dates are exclusive. What
an institution must not keep (passwords) and what says nothing in a bulk file (`status`, `dateLastModified`)
isn't here. Of a delta's row that is to be deleted only `line` and `sourced_id` are sure; other cells may be None.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple


class OrgRow(NamedTuple):
    line: int
    sourced_id: str
    name: str
    type: str
    identifier: str
    parent_sourced_id: str


class AcademicSessionRow(NamedTuple):
    line: int
    sourced_id: str
    title: str
    type: str
    start_date: date
    end_date: date
    parent_sourced_id: str
    school_year: int  # the year in which the school year ends


class CourseRow(NamedTuple):
    line: int
    sourced_id: str
    school_year_sourced_id: str
    title: str
    course_code: str
    grades: tuple[str, ...]
    org_sourced_id: str
    subjects: tuple[str, ...]
    subject_codes: tuple[str, ...]


class ClassRow(NamedTuple):
    line: int
    sourced_id: str
    title: str
    grades: tuple[str, ...]
    course_sourced_id: str
    class_code: str
    class_type: str
    location: str
    school_sourced_id: str
    term_sourced_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    subject_codes: tuple[str, ...]
    periods: tuple[str, ...]


class UserRow(NamedTuple):
    line: int
    sourced_id: str
    enabled_user: bool
    username: str
    user_ids: tuple[str, ...]  # each "{type:identifier}"
    given_name: str
    family_name: str
    middle_name: str
    identifier: str
    email: str
    sms: str
    phone: str
    agent_sourced_ids: tuple[str, ...]
    grades: tuple[str, ...]
    user_master_identifier: str
    preferred_given_name: str
    preferred_middle_name: str
    preferred_family_name: str
    primary_org_sourced_id: str
    pronouns: str


class UserRow11(NamedTuple):
    """A row of users.csv in OneRoster 1.1, where a user has one role, in one org or several."""

    line: int
    sourced_id: str
    enabled_user: bool
    org_sourced_ids: tuple[str, ...]
    role: str
    username: str
    user_ids: tuple[str, ...]
    given_name: str
    family_name: str
    middle_name: str
    identifier: str
    email: str
    sms: str
    phone: str
    agent_sourced_ids: tuple[str, ...]
    grades: tuple[str, ...]


class RoleRow(NamedTuple):
    line: int
    sourced_id: str
    user_sourced_id: str
    role_type: str
    role: str
    begin_date: date | None
    end_date: date | None
    org_sourced_id: str
    user_profile_sourced_id: str


class EnrollmentRow(NamedTuple):
    line: int
    sourced_id: str
    class_sourced_id: str
    school_sourced_id: str
    user_sourced_id: str
    role: str
    primary: bool | None
    begin_date: date | None
    end_date: date | None


class DemographicsRow(NamedTuple):
    line: int
    sourced_id: str  # the user's
    birth_date: date | None
    sex: str
    american_indian_or_alaska_native: bool | None
    asian: bool | None
    black_or_african_american: bool | None
    native_hawaiian_or_other_pacific_islander: bool | None
    white: bool | None
    demographic_race_two_or_more_races: bool | None
    hispanic_or_latino_ethnicity: bool | None
    country_of_birth_code: str
    state_of_birth_abbreviation: str
    city_of_birth: str
    public_school_residence_status: str
