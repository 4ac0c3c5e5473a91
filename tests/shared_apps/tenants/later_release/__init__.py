"""The migrations of a later release of the room `school`, as the tests of `tenant migrate` see them: its own first one,
and a second one that adds ten columns."""
