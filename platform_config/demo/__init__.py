"""The demo: three institutions and their people. Installed by the local settings only, so production has no command
that would make them."""
