#!/usr/bin/env python3
"""Lyceum's command line. Every command runs in the platform context; one that needs an institution enters it."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_config.settings.local")
    from platform_config.env import SettingsError
    from shared_apps.core.actors import acting, command
    from shared_apps.core.context import platform

    try:
        from django.core.management import execute_from_command_line

        with platform(), acting(command(" ".join(sys.argv[1:2]) or "help")):
            execute_from_command_line(sys.argv)
    except SettingsError as error:
        sys.exit(f"lyceum: {error}")


if __name__ == "__main__":
    main()
