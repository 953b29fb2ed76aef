#!/usr/bin/env python3
"""Make .venv and install the locked packages of a group: `tools/bootstrap.py run|test|dev`.

Standard library only, and written so that an old Python can at least read it and say what is missing.
Up to date is decided by a stamp in .venv, so a second call costs a tenth of a second.
"""

import configparser
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

MINIMUM = (3, 11)
NEWEST = 14  # minor version of the newest Python that is looked for on PATH
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
# Each group is installed on top of the ones before it.
GROUPS = ["run", "test", "dev"]

# For machines whose Python comes without ensurepip (Debian without python3-venv).
PIP_WHEEL = "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
DEFAULT_INDEX = "https://pypi.org/simple"

NETWORK_SIGNS = re.compile(
    r"connection broken|connection refused|failed to establish|name resolution|name or service not known"
    r"|timed out|network is unreachable|max retries exceeded|SSLError|ProxyError|NewConnectionError|no route",
    re.IGNORECASE,
)
NETWORK_REMEDY = (
    "the packages could not be fetched. Connect to the network; behind a proxy set HTTPS_PROXY; with a "
    "mirror set PIP_INDEX_URL; offline, with the wheels in a folder, PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER."
)


class BootstrapError(Exception):
    """One line for the user: what is missing and the remedy."""


class InstallFailed(BootstrapError):
    """pip failed for a reason that may lie in a damaged .venv."""


def say(text):
    print("bootstrap: " + text, file=sys.stderr, flush=True)


def require_python():
    """Go on in a Python that is new enough, or say how to get one."""
    if sys.version_info >= MINIMUM:
        return
    for minor in range(NEWEST, MINIMUM[1] - 1, -1):
        newer = shutil.which("python3.%d" % minor)  # noqa: UP031 - old Pythons read this
        if newer:
            os.execv(newer, [newer, os.path.abspath(__file__), *sys.argv[1:]])  # noqa: S606
    raise BootstrapError(
        "Python 3.11 or later is needed, this is {}.{}. Install one (Debian, Ubuntu: apt install python3.11; "
        "Fedora: dnf install python3.11; macOS: brew install python@3.11) or name one: "
        "make PYTHON=/path/to/python3.11".format(*sys.version_info[:2])
    )


def require_modules():
    """A self-compiled Python may lack parts of the standard library that Hearth needs."""
    for module, package in [
        ("ssl", "OpenSSL (libssl-dev)"),
        ("sqlite3", "SQLite (libsqlite3-dev)"),
        ("pyexpat", "expat"),
        ("zlib", "zlib (zlib1g-dev)"),
        ("venv", "the venv module (apt install python3-venv)"),
    ]:
        try:
            __import__(module)
        except ImportError:
            raise BootstrapError(
                f"{sys.executable} was built without {package}. Install that and rebuild Python, or name "
                "another: make PYTHON=/path/to/python3"
            ) from None


# --- what is up to date


def lock_files(group):
    """The lock files of a group, those that it includes first."""
    return [os.path.join(ROOT, "requirements", name + ".lock") for name in GROUPS[: GROUPS.index(group) + 1]]


def stamp_value(group):
    """Changes when a lock, the interpreter or the place of the tree does."""
    digest = hashlib.sha256()
    for path in lock_files(group):
        with open(path, "rb") as file:
            digest.update(file.read())
    digest.update("\n".join([sys.version, sys.platform, os.uname().machine, ROOT]).encode())
    return digest.hexdigest()


def stamp_path(group):
    return os.path.join(VENV, ".stamp-" + group)


def is_up_to_date(group):
    try:
        with open(stamp_path(group)) as file:
            return file.read() == stamp_value(group) and os.access(VENV_PYTHON, os.X_OK)
    except OSError:
        return False


def write_stamps(group):
    for name in GROUPS[: GROUPS.index(group) + 1]:
        with open(stamp_path(name), "w") as file:
            file.write(stamp_value(name))


# --- the virtual environment


def has_ensurepip():
    try:
        import ensurepip

        return bool(ensurepip.version())
    except Exception:  # a distribution's stand-in may raise what it likes
        return False


def is_sound():
    """Whether .venv belongs to this Python and place, starts, and has a pip that runs."""
    probe = "import sys, pip; print(sys.version); print(sys.prefix)"
    try:
        result = subprocess.run(
            [VENV_PYTHON, "-c", probe], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return result.stdout == f"{sys.version}\n{VENV}\n"


def make_venv():
    import venv

    say(f"making .venv with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    if has_ensurepip():
        with contextlib.suppress(subprocess.CalledProcessError):  # Debian: ensurepip there, its wheels not
            venv.EnvBuilder(with_pip=True, symlinks=True).create(VENV)
            return
    say("this Python has no ensurepip: fetching " + PIP_WHEEL)
    venv.EnvBuilder(with_pip=False, symlinks=True, clear=True).create(VENV)
    wheel = os.path.join(VENV, PIP_WHEEL)
    with open(wheel, "wb") as file:
        file.write(fetch_pip())
    # A wheel is a zip file that Python can import from, so pip installs itself.
    command = [
        VENV_PYTHON,
        os.path.join(wheel, "pip"),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    os.remove(wheel)


# --- pip's own wheel, from where pip would look


def pip_setting(name):
    """A pip setting from the environment (PIP_INDEX_URL) or pip's files (index-url), or ''."""
    value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if value:
        return value
    home = os.path.expanduser("~")
    files = [
        "/etc/pip.conf",
        os.path.join(home, ".pip", "pip.conf"),
        os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "pip", "pip.conf"),
        os.environ.get("PIP_CONFIG_FILE", ""),
    ]
    parser = configparser.RawConfigParser(strict=False)
    with contextlib.suppress(configparser.Error):
        parser.read([path for path in files if path])
    for section in ["install", "global"]:
        if parser.has_option(section, name):
            return parser.get(section, name)
    return ""


def pip_pages():
    """Every page or folder that may list the wheel, in the order in which they are tried."""
    pages = pip_setting("find-links").split()
    if pip_setting("no-index").lower() not in ("1", "true", "yes", "on"):
        indexes = (pip_setting("index-url") or DEFAULT_INDEX).split() + pip_setting("extra-index-url").split()
        pages += [index.rstrip("/") + "/pip/" for index in indexes]
    return pages


def open_url(url):
    import ssl

    context = ssl.create_default_context(cafile=pip_setting("cert") or None)
    with urllib.request.urlopen(url, timeout=30, context=context) as response:
        return response.read()


def wheel_address(page):
    """Where the wheel lies according to one page or folder; None when it is not listed. Raises OSError."""
    if page.startswith("file:"):
        page = urllib.request.url2pathname(urllib.parse.urlsplit(page).path)
    if os.path.isdir(page):
        wheel = os.path.join(page, PIP_WHEEL)
        if os.path.isfile(wheel):
            return "file://" + urllib.request.pathname2url(wheel)
        page = os.path.join(page, "index.html")
    if "://" not in page:
        page = "file://" + urllib.request.pathname2url(os.path.abspath(page))
    for link in re.findall(r"""href\s*=\s*["']([^"']+)["']""", open_url(page).decode("utf-8", "replace")):
        address = urllib.parse.urljoin(page, link.replace("&amp;", "&"))
        if urllib.parse.urlsplit(address).path.endswith("/" + PIP_WHEEL):
            return address
    return None


def fetch_pip():
    """The bytes of pip's wheel; whatever does not match the pinned checksum is refused."""
    for page in pip_pages():
        try:
            address = wheel_address(page)
            content = open_url(address) if address else b""
        except (OSError, ValueError):
            continue
        if hashlib.sha256(content).hexdigest() == PIP_SHA256:
            return content
        if content:
            raise BootstrapError(
                f"{PIP_WHEEL} has the wrong checksum and was not used. Check the mirror in PIP_INDEX_URL."
            )
    raise BootstrapError("pip is missing (Debian, Ubuntu: apt install python3-venv) and " + NETWORK_REMEDY)


# --- installing


def wanted_packages(group):
    """How many packages the locks of a group name, for the progress shown."""
    total = 0
    for path in lock_files(group):
        with open(path) as file:
            total += sum("==" in line and not line.startswith("#") for line in file)
    return total


def show_progress(number, total, text):
    if sys.stderr.isatty():
        print(f"\r\x1b[Kbootstrap: {number}/{total} {text}", end="", file=sys.stderr, flush=True)
    elif number % 10 == 0:
        say(f"{number}/{total} packages")


def install(group):
    """Run pip over the lock of a group and show how far it is; raise BootstrapError when it fails."""
    lock = lock_files(group)[-1]
    total = wanted_packages(group)
    command = [
        VENV_PYTHON,
        "-m",
        "pip",
        "install",
        "--requirement",
        lock,
        "--only-binary=:all:",
        "--no-input",
    ]
    command += ["--disable-pip-version-check", "--progress-bar=off"]
    say(f"installing {total} packages ({group})")
    environment = dict(os.environ, PIP_REQUIRE_VIRTUALENV="0", PIP_USER="0", PYTHONUNBUFFERED="1")
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as pip:
        output = []
        found = 0
        for line in pip.stdout:
            output.append(line)
            if re.match(r"(Collecting|Requirement already satisfied:?|Ignoring) ", line):
                found += 1
                show_progress(
                    min(found, total), total, line.split()[-1 if line.startswith("Ign") else 1].strip(":")
                )
            elif line.startswith("Installing collected"):
                show_progress(total, total, "unpacking")
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if pip.returncode == 0:
        return
    text = "".join(output)
    if NETWORK_SIGNS.search(text):
        raise BootstrapError(NETWORK_REMEDY)
    sys.stderr.write("".join(output[-15:]))
    if "No matching distribution" in text:
        raise BootstrapError(
            f"a package has no wheel for Python {sys.version.split()[0]} on {sys.platform} "
            f"{os.uname().machine} (see above). Try another Python: make PYTHON=/path/to/python3.11"
        )
    raise InstallFailed("pip failed, see above.")


def build(group):
    """Bring .venv to the locked state; a broken one is removed and made again once."""
    is_old = os.path.lexists(VENV)
    if is_old and not is_sound():
        say("the .venv found is broken or belongs to another Python: making it again")
        is_old = False
        make_venv()
    elif not is_old:
        make_venv()
    try:
        install(group)
    except InstallFailed:
        if not is_old:
            raise
        say("making .venv again and trying once more")
        make_venv()
        install(group)
    write_stamps(group)
    say("done")


@contextlib.contextmanager
def one_at_a_time():
    """Hold the lock beside .venv; a second installation waits for the first."""
    import fcntl

    with open(os.path.join(ROOT, ".venv.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another installation is running; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in GROUPS:
        raise BootstrapError("usage: tools/bootstrap.py " + "|".join(GROUPS))
    group = arguments[0]
    require_python()
    if is_up_to_date(group):
        return
    require_modules()
    with one_at_a_time():
        if not is_up_to_date(group):
            build(group)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BootstrapError as error:
        say(str(error))
        sys.exit(2)
    except (OSError, subprocess.SubprocessError) as error:
        say(f"{error}. Free the space or the rights it needs and start again.")
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted; start again to go on")
        sys.exit(130)
