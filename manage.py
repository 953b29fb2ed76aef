#!/usr/bin/env python3
"""The only entry point: `manage.py serve` runs Hearth, `manage.py help` lists the rest."""

import os
import sys


def main() -> None:
    os.umask(0o077)  # what Hearth writes (database, journals, logs, keys) is the owner's alone
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "xmppd.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
