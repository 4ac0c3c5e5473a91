"""A checked roster into the institution: the plan says what would change, the writing does exactly that."""

from tenant_apps.interop.roster.planning import Plan, Steps, make_plan
from tenant_apps.interop.roster.writing import one_import_at_a_time, write_plan

__all__ = ["Plan", "Steps", "make_plan", "one_import_at_a_time", "write_plan"]
