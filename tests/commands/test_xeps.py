"""manage.py xeps: the list of what is implemented."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from xmppd.management.commands import xeps
from xmppd.server.module import Module, Xep
from xmppd.server.specifications import implemented


@pytest.fixture
def folder(tmp_path, settings):
    settings.BASE_DIR = tmp_path
    return tmp_path


def run(*arguments):
    out = StringIO()
    call_command("xeps", *arguments, stdout=out)
    return out.getvalue()


def test_list_and_documents_name_what_the_modules_declare(folder):
    out = run()
    assert "XEP-0030  2.5.0    Service Discovery\n" in out
    assert "docs/xeps.md was written" in out
    text = (folder / xeps.MARKDOWN).read_text()
    assert (
        "| [0199](https://xmpp.org/extensions/xep-0199.html) | XMPP Ping | 2.0.1 | `xmppd/modules/ping.py` |"
        in text
    )
    assert "- RFC 6121 2: `xmppd/modules/roster.py`" in text


def test_doap_is_xml_with_every_xep_once(folder):
    run()
    ns = {"xmpp": "https://linkmauve.fr/ns/xmpp-doap#"}
    found = ET.parse(folder / xeps.DOAP).getroot().findall(".//xmpp:SupportedXep", ns)
    wanted = implemented(xeps.own_classes())
    assert [each.findtext("xmpp:version", namespaces=ns) for each in found] == [xep.version for xep in wanted]
    statuses = {each.findtext("xmpp:status", namespaces=ns) for each in found}
    assert statuses == {"complete", "partial"}


def test_check_fails_until_the_documents_are_written(folder):
    with pytest.raises(CommandError, match=r"xeps\.md, docs/hearth\.doap"):
        run("--check")
    assert not (folder / "docs").exists()
    run()
    assert run("--check") == ""
    (folder / xeps.DOAP).write_text("old")
    with pytest.raises(CommandError, match=r"docs/hearth\.doap"):
        run("--check")


def test_second_run_writes_nothing(folder):
    run()
    assert "was written" not in run()


def test_every_declaration_has_a_name_and_partial_ones_say_what_they_have():
    for xep in implemented(xeps.own_classes()):
        assert xep.name, xep
        assert xep.note or not xep.is_partial, xep


def test_one_xep_declared_by_two_modules_is_a_mistake():
    class Another(Module):
        xep = Xep(199, "2.0.1", name="XMPP Ping")

    with pytest.raises(RuntimeError, match="XEP-0199"):
        implemented([*xeps.own_classes(), Another])
