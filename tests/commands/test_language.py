"""Commands speak the language of the shell; a server does not let it out to its clients."""

from __future__ import annotations

import pytest
from django.utils.translation import get_language, gettext

from xmppd.management.cli import shell_gettext, shell_language
from xmppd.management.commands import adduser

VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "POSIX"}, "en"),
        ({"LANG": "tlh_KX"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh-hans"),
        ({"LANG": "zh_SG"}, "zh-hans"),
        ({"LANG": "zh_CN.GB18030@stroke"}, "zh-hans"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh-hans"),
        ({"LANG": "zh_CN", "LC_ALL": ""}, "zh-hans"),
    ],
)
def test_the_language_of_the_shell(
    shell: pytest.MonkeyPatch, environment: dict[str, str], language: str
) -> None:
    for variable, value in environment.items():
        shell.setenv(variable, value)
    assert shell_language() == language


def test_a_command_helps_in_the_language_of_the_shell(
    shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.setenv("LANG", "zh_CN.UTF-8")
    with pytest.raises(SystemExit):
        adduser.Command().run_from_argv(["manage.py", "adduser", "--help"])
    printed = capsys.readouterr().out
    assert "创建账号。" in printed
    assert "从标准输入读取密码" in printed


def test_what_serve_prints_is_in_it_and_the_process_is_not(shell: pytest.MonkeyPatch) -> None:
    shell.setenv("LANG", "zh_CN.UTF-8")
    before = get_language()
    assert "停止" in shell_gettext("  Stop             Ctrl-C")
    assert get_language() == before
    assert gettext("Saved.") == "Saved."
