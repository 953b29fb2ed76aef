"""tools/bootstrap.py in a tree of its own, with wheels from a folder: no network."""

from __future__ import annotations

import ensurepip
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "bootstrap.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with the script and a lock that names one wheel, which lies in wheels/."""
    (tmp_path / "tools").mkdir()
    shutil.copy(SCRIPT, tmp_path / "tools")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "wheels").mkdir()
    make_wheel(tmp_path / "wheels", "1.0")
    (tmp_path / "requirements" / "run.lock").write_text("# comment\nhearthling==1.0\n")
    (tmp_path / "requirements" / "test.lock").write_text("-r run.lock\n")
    (tmp_path / "requirements" / "dev.lock").write_text("-r test.lock\n")
    return tmp_path


def make_wheel(folder: Path, version: str) -> None:
    """The smallest thing that pip installs: a module that knows its version."""
    info = f"hearthling-{version}.dist-info"
    with zipfile.ZipFile(folder / f"hearthling-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("hearthling.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: hearthling\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(
            f"{info}/RECORD", f"hearthling.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )


def start(tree: Path, group: str = "run", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, tree / "tools" / "bootstrap.py", group],
        env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tree / "wheels")} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def bootstrap(tree: Path, group: str = "run", **environment: str) -> tuple[int, str]:
    """The exit code and everything that was printed."""
    process = start(tree, group, **environment)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def installed_version(tree: Path) -> str:
    command = [tree / ".venv" / "bin" / "python", "-c", "import hearthling; print(hearthling.version)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_installs_once_and_again_when_the_lock_changes(tree: Path) -> None:
    code, output = bootstrap(tree)
    assert code == 0, output
    assert "making .venv" in output
    assert "installing 1 packages" in output
    assert installed_version(tree) == "1.0"

    assert bootstrap(tree) == (0, "")

    make_wheel(tree / "wheels", "2.0")
    (tree / "requirements" / "run.lock").write_text("hearthling==2.0\n")
    code, output = bootstrap(tree)
    assert code == 0, output
    assert "making .venv" not in output
    assert installed_version(tree) == "2.0"


@pytest.mark.slow
def test_a_larger_group_covers_the_smaller(tree: Path) -> None:
    assert bootstrap(tree, "dev")[0] == 0
    assert bootstrap(tree, "run") == (0, "")
    assert bootstrap(tree, "test") == (0, "")


@pytest.mark.slow
def test_a_broken_environment_is_made_again(tree: Path) -> None:
    assert bootstrap(tree)[0] == 0
    python = tree / ".venv" / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\nexit 1\n")
    (tree / ".venv" / ".stamp-run").unlink()
    code, output = bootstrap(tree)
    assert code == 0, output
    assert "making it again" in output
    assert installed_version(tree) == "1.0"


@pytest.mark.slow
def test_two_at_once_take_turns(tree: Path) -> None:
    processes = [start(tree), start(tree)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum("making .venv" in output for output in outputs) == 1
    assert installed_version(tree) == "1.0"


@pytest.mark.slow
def test_a_package_without_a_wheel_is_named(tree: Path) -> None:
    (tree / "requirements" / "run.lock").write_text("hearthling==3.0\n")
    code, output = bootstrap(tree)
    assert code == 2
    assert "hearthling==3.0" in output
    assert "no wheel for Python" in output
    assert not (tree / ".venv" / ".stamp-run").exists()


def test_unknown_group_shows_the_usage(tree: Path) -> None:
    assert bootstrap(tree, "everything") == (2, "bootstrap: usage: tools/bootstrap.py run|test|dev\n")


# --- functions of the script


@pytest.fixture
def module(tree: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; nothing of the machine's pip configuration is seen."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tree / "home"))
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", tree / "tools" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_old_python_is_told_what_to_install(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        module.BootstrapError, match=r"Python 3\.11 or later is needed, this is 3\.9.*apt install"
    ):
        module.require_python()


def test_an_old_python_hands_over_to_a_newer_one(
    module: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tree / "python3.12"
    newer.write_text("#!/bin/sh\n")
    newer.chmod(0o755)
    monkeypatch.setattr(module.sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(module.sys, "argv", ["bootstrap.py", "run"])
    monkeypatch.setenv("PATH", str(tree))
    calls: list[tuple[str, list[str]]] = []

    def execv(path: str, arguments: list[str]) -> None:
        calls.append((path, arguments))
        raise SystemExit

    monkeypatch.setattr(module.os, "execv", execv)
    with pytest.raises(SystemExit):
        module.require_python()
    assert calls == [(str(newer), [str(newer), str(tree / "tools" / "bootstrap.py"), "run"])]


def bundled_pip() -> Path:
    """The wheel that this Python carries for ensurepip."""
    folder = Path(ensurepip.__file__).parent / "_bundled"
    wheels = [*folder.glob("pip-*.whl"), *Path("/usr/share/python-wheels").glob("pip-*.whl")]
    if not wheels:
        pytest.skip("this Python carries no pip wheel")
    return wheels[0]


def offer_pip(module: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put this Python's pip wheel into a folder and make it the pinned one."""
    wheel = Path(shutil.copy(bundled_pip(), folder))
    monkeypatch.setattr(module, "PIP_WHEEL", wheel.name)
    monkeypatch.setattr(module, "PIP_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    return wheel


@pytest.mark.slow
def test_without_ensurepip_the_pinned_wheel_is_used(
    module: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_pip(module, tree / "wheels", monkeypatch)
    monkeypatch.setattr(module, "has_ensurepip", lambda: False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tree / "wheels"))
    module.main(["run"])
    assert installed_version(tree) == "1.0"
    assert not (tree / ".venv" / module.PIP_WHEEL).exists()


def test_the_wheel_is_found_through_the_configured_index(
    module: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tree / "simple" / "pip"
    index.mkdir(parents=True)
    wheel = offer_pip(module, tree / "wheels", monkeypatch)
    (index / "index.html").write_text(
        f'<a href="pip-1.0.tar.gz">old</a><a href="../../wheels/{wheel.name}#sha256=0">new</a>'
    )
    configuration = tree / "home" / ".config" / "pip" / "pip.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f"[global]\nindex-url = file://{tree}/simple\n")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert module.fetch_pip() == wheel.read_bytes()


def test_a_wheel_that_was_tampered_with_is_refused(
    module: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = offer_pip(module, tree / "wheels", monkeypatch)
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tree / "wheels"))
    with pytest.raises(module.BootstrapError, match="wrong checksum"):
        module.fetch_pip()


def test_no_network_is_one_line_with_the_remedy(
    module: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(module.BootstrapError, match=r"apt install python3-venv.*HTTPS_PROXY") as caught:
        module.fetch_pip()
    assert "\n" not in str(caught.value)
