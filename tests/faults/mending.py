"""`tenant check` after a kill: clean, or it says what to run, and running that mends it."""

import shlex
from io import StringIO

from django.core.management import CommandError, call_command

from shared_apps.core.context import platform


def check() -> list[str]:
    """What `tenant check` says to run, a command for each finding; empty when all is well."""
    told = StringIO()
    with platform():
        try:
            call_command("tenant", "check", stdout=told)
        except CommandError:
            commands = [line.rpartition("; ")[2] for line in told.getvalue().splitlines()]
            assert commands, "it complains and says nothing"
            return commands
    return []


def mend() -> list[str]:
    """Run what `tenant check` says until it is content. The commands, which must be ones of manage.py."""
    run: list[str] = []
    while commands := check():
        assert len(run) < 5, f"it is not content after {run}: {commands}"
        for command in dict.fromkeys(commands):
            program, *words = shlex.split(command)
            assert program == "manage.py", f"nobody can run {command!r}"
            with platform():
                call_command(*words, stdout=StringIO())
            run.append(command)
    return run
