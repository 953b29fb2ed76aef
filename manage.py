#!/usr/bin/env python3
"""The only entry point: `manage.py serve` runs Hearth, `manage.py help` lists the rest."""

import os
import sys


def main() -> None:
    os.umask(0o077)  # what Hearth writes (database, journals, logs, keys) is the owner's alone
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "xmppd.settings")
    from xmppd import bootstrap

    try:  # before Django reads it: a mistake in the configuration is one line, not a stack
        bootstrap.secret_key(bootstrap.load())
    except (bootstrap.ConfigurationError, OSError) as error:
        print(f"hearth: {error}", file=sys.stderr)
        sys.exit(2)
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
