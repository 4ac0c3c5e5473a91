from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shared_apps.core.scaffold.resources import plan, start_resource
from shared_apps.core.scaffold.tree import Tree
from shared_apps.core.scaffold.words import COLUMNS, columns, model_name

LEFT = """
Left to write by hand:
- what the model and the declaration say in their docstrings, and rules of one row in `clean`
- who else may do what: `registry.grant(...)` in {room}/apps.py, and the same in tests/contract/rights.py
- further scopes, when campus and oneself are not all: `registry.scope(...)`
"""


class Command(BaseCommand):
    help = (
        "Begin a resource: startresource school Locker number:text(20)! campus:school.Campus! student:school.Student?"
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("room")
        parser.add_argument("model", help="A singular in capitals, such as LibraryCard.")
        kinds = f"Kinds: {', '.join(COLUMNS)}, or room.Model. `?` may be empty, `!` belongs to the key."
        parser.add_argument("fields", nargs="+", metavar="field:kind", help=kinds)
        parser.add_argument("--plural", default="", help="Where the guess is wrong: --plural people.")
        parser.add_argument("--reference", action="store_true", help="Whoever holds the permission sees every row.")

    def handle(self, *args: Any, **options: Any) -> None:
        tree = Tree()
        wanted = plan(
            options["room"],
            model_name(options["model"]),
            columns(options["fields"]),
            plural=options["plural"],
            reference=options["reference"],
        )
        start_resource(tree, wanted)
        for line in tree.done or ["Nothing to do: it is there already."]:
            self.stdout.write(line)
        self.stdout.write(LEFT.format(room=wanted.room))
