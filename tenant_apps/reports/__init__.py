"""Reports, their schedules, runs and artifacts; reads across domains live here."""
