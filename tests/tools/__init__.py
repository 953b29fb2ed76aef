"""What a test needs from the machine: without it the test skips, or fails where HEARTH_REQUIRE_TOOLS=1."""

import glob
import os
import shutil
from typing import NoReturn

import pytest

# Debian keeps some programs outside PATH.
EXTRA_FOLDERS = ["/usr/lib/postgresql/*/bin", "/usr/sbin"]


def missing(reason: str) -> NoReturn:
    """Skip the test that asks; fail it where every tool must be there, so that nothing goes untested."""
    if os.environ.get("HEARTH_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{reason} (required by HEARTH_REQUIRE_TOOLS=1)")
    pytest.skip(reason)


def find_tool(*names: str) -> str | None:
    """The path of the first program of these names that is installed."""
    folders = [folder for pattern in EXTRA_FOLDERS for folder in sorted(glob.glob(pattern), reverse=True)]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *folders])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def require_tool(*names: str) -> str:
    """The path of a program; several names are alternatives: `require_tool("chromium", "google-chrome")`."""
    return find_tool(*names) or missing(f"{' or '.join(names)} is not installed")
