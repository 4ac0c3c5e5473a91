"""Comparing a checked roster with what the institution has."""

from __future__ import annotations

from datetime import date

from tenant_apps.interop.oneroster import Roster
from tenant_apps.interop.roster.draft import Plan, Steps
from tenant_apps.interop.roster.ending import report_kept
from tenant_apps.interop.roster.enrolments import plan_enrolments
from tenant_apps.interop.roster.known import fill_in_known
from tenant_apps.interop.roster.people import plan_people
from tenant_apps.interop.roster.places import plan_calendar, plan_places
from tenant_apps.interop.roster.states import plan_states
from tenant_apps.interop.roster.teaching import plan_courses, plan_grade_levels, plan_sections

__all__ = ["Plan", "Steps", "make_plan"]


def make_plan(roster: Roster, *, today: date, close_missing: bool, steps: Steps) -> Plan:
    """What importing the roster into the current institution would do. Writes nothing.

    A roster with errors is compared with nothing: its rows don't hang together, so its plan has findings only.
    """
    plan = Plan(roster, today, close_missing)
    if not roster.ok:
        return plan
    stages = (
        (36, "Comparing schools and terms", (fill_in_known, plan_places, plan_calendar)),
        (38, "Comparing classes", (plan_grade_levels, plan_courses, plan_sections)),
        (40, "Comparing people", (plan_people, plan_states)),
        (48, "Comparing enrolments", (plan_enrolments, report_kept)),
    )
    for percent, step, makers in stages:
        steps(percent, step)
        steps.check()
        for make in makers:
            make(plan)
    return plan
