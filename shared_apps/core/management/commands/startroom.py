from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shared_apps.core.scaffold.rooms import start_room
from shared_apps.core.scaffold.tree import Tree
from shared_apps.core.scaffold.words import room_name


class Command(BaseCommand):
    help = "Begin a room of the institutions: startroom library --above academics"
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="One word of small letters, such as library.")
        floor = parser.add_mutually_exclusive_group(required=True)
        floor.add_argument("--above", metavar="ROOM", help="A floor of its own, right above this room's.")
        floor.add_argument("--beside", metavar="ROOM", help="This room's floor; the two cannot import each other.")

    def handle(self, *args: Any, **options: Any) -> None:
        tree = Tree()
        name = room_name(options["name"])
        above = options["above"] is not None
        start_room(tree, name, neighbour=options["above"] or options["beside"], above=above)
        for line in tree.done or ["Nothing to do: it is there already."]:
            self.stdout.write(line)
        self.stdout.write(f"\nNext: manage.py startresource {name} Model field:kind ...")
