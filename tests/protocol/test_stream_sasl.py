"""A client's login on its stream: RFC 6120 6, XEP-0388, XEP-0480."""

import base64

import pytest

from tests.protocol.stream_driver import (
    ACCOUNT,
    AUTH,
    BIND,
    HEADER,
    PLAIN,
    SASL,
    STEPS,
    Driver,
    header,
    kinds,
)
from xmppd.protocol.element import E
from xmppd.protocol.errors import SASLError
from xmppd.protocol.stream.events import (
    AuthResponse,
    TaskChosen,
)


def test_only_mechanisms_that_were_offered():
    for name in ("EXTERNAL", "ANONYMOUS", "SCRAM-SHA-1-PLUS", "plain", ""):
        driver = Driver()
        assert driver.sends(HEADER + f"<auth {SASL} mechanism='{name}'>=</auth>") == []
        assert "<invalid-mechanism/>" in driver.text


@pytest.mark.parametrize("step", STEPS)
def test_too_many_failures_end_the_stream(step):
    driver = Driver(step)
    wrong = f"<auth {SASL} mechanism='NONE'/>"
    assert driver.sends(HEADER + wrong + wrong) == []
    assert kinds(driver.sends(wrong)) == ["Closed"]
    text = driver.output()
    assert text.count("<invalid-mechanism/>") == 3
    assert text.count("<policy-violation") == 1
    assert text.endswith("</stream:stream>")


@pytest.mark.parametrize("text", ["***", "ab", "a\u00e9", "=a"])
def test_what_is_not_base64(text):
    driver = Driver()
    assert driver.sends(HEADER + f"<auth {SASL} mechanism='PLAIN'>{text}</auth>") == []
    assert "<incorrect-encoding/>" in driver.text


@pytest.mark.parametrize(("text", "initial"), [("", None), ("=", b"")])
def test_initial_response_is_absent_or_empty(text, initial):
    driver = Driver()
    (event,) = driver.sends(HEADER + f"<auth {SASL} mechanism='PLAIN'>{text}</auth>", answers=False)
    assert event.initial == initial


def test_challenge_and_response():
    driver = Driver()
    driver.sends(HEADER + f"<auth {SASL} mechanism='SCRAM-SHA-1'/>", answers=False)
    driver.output()
    driver.stream.auth_challenge(b"r=1")
    assert driver.output() == f"<challenge {SASL}>cj0x</challenge>"
    assert driver.sends(f"<response {SASL}>cj0y</response>", answers=False) == [AuthResponse(b"r=2")]


@pytest.mark.parametrize("element", [f"<response {SASL}/>", f"<response {SASL}>cj0x</response>"])
def test_response_to_no_challenge(element):
    driver = Driver()
    assert driver.sends(HEADER + element) == []
    assert "<malformed-request/>" in driver.text


def test_abort():
    driver = Driver()
    driver.sends(HEADER + f"<auth {SASL} mechanism='SCRAM-SHA-1'/>", answers=False)
    driver.stream.auth_challenge(b"x")
    assert driver.sends(f"<abort {SASL}/>") == []
    assert "<aborted/>" in driver.text
    assert kinds(driver.sends(AUTH)) == ["AuthRequested"]


SASL2 = "xmlns='urn:xmpp:sasl:2'"
AUTHENTICATE = (
    f"<authenticate {SASL2} mechanism='PLAIN'><initial-response>{PLAIN}</initial-response></authenticate>"
)
NEXT = f"<next {SASL2} task='UPGR-X'/>"
TASK_DATA = f"<task-data {SASL2}><answer xmlns='urn:x'>42</answer></task-data>"


def in_task(step=1 << 20):
    """A stream whose client has been told of a task."""
    driver = Driver(step)
    driver.sends(HEADER + AUTHENTICATE, answers=False)
    driver.output()
    driver.stream.auth_continue(b"proof", "UPGR-X")
    assert driver.output() == (
        f"<continue {SASL2}><additional-data>{base64.b64encode(b'proof').decode()}</additional-data>"
        "<tasks><task>UPGR-X</task></tasks></continue>"
    )
    return driver


@pytest.mark.parametrize("step", STEPS)
def test_task(step):
    """XEP-0388 2.6.3, to the next task and to the end."""
    driver = in_task(step)
    assert driver.sends(NEXT, answers=False) == [TaskChosen("UPGR-X")]
    driver.stream.task_data(E("urn:x", "question"))
    assert driver.output() == f"<task-data {SASL2}><question xmlns='urn:x'/></task-data>"
    (event,) = driver.sends(TASK_DATA, answers=False)
    assert event.element.text_of("urn:x", "answer") == "42"
    driver.stream.auth_continue(None, "UPGR-Y")
    assert driver.output() == f"<continue {SASL2}><tasks><task>UPGR-Y</task></tasks></continue>"
    assert driver.sends(f"<next {SASL2}/>", answers=False) == [TaskChosen("")]
    driver.stream.login_completed(ACCOUNT, None)
    assert driver.output().startswith(
        f"<success {SASL2}><authorization-identifier>{ACCOUNT}</authorization-identifier></success><stream:features>"
    )
    assert kinds(driver.sends(BIND)) == ["BindRequested"]


@pytest.mark.parametrize("step", STEPS)
def test_task_sent_ahead_waits_for_the_answer(step):
    driver = in_task(step)
    assert driver.sends(NEXT + TASK_DATA, answers=False) == [TaskChosen("UPGR-X")]
    driver.stream.task_data(E("urn:x", "question"))
    assert kinds(driver.sends("", answers=False) or driver.stream.receive(b"")) == ["TaskData"]


@pytest.mark.parametrize(
    "element", [TASK_DATA, AUTHENTICATE, f"<response {SASL2}/>", AUTH, BIND, "<presence/>"]
)
def test_nothing_but_the_task_goes_on(element):
    driver = in_task()
    driver.sends(element, answers=False)
    assert driver.stream.is_closed


def test_task_that_failed_leaves_the_stream_as_it_was():
    driver = in_task()
    driver.sends(NEXT, answers=False)
    driver.stream.auth_failed(SASLError("malformed-request"))
    driver.output()
    assert driver.sends(f"<response {SASL2}/>", answers=False) == []
    assert "<malformed-request " in driver.output()
    assert kinds(driver.sends(AUTHENTICATE, answers=False)) == ["AuthRequested"]


def test_nobody_logs_in_twice():
    driver = Driver()
    driver.sends(HEADER + AUTH + HEADER + AUTH)
    assert driver.is_closed_with("policy-violation")


@pytest.mark.parametrize("to", ["example.net", "elsewhere.example"])
def test_identity_belongs_to_one_host(to):
    """Prosody's CVE-2018-10847: logged in to one virtual host, opened the stream anew to another."""
    driver = Driver()
    driver.sends(HEADER + AUTH + header(to=to))
    assert kinds(driver.events) == ["AuthRequested", "Closed"]
    assert driver.events[-1].error.condition in ("not-authorized", "host-unknown")
    assert "xmpp-bind" not in driver.text


@pytest.mark.parametrize(("sender", "is_fine"), [("juliet@example.com", True), ("romeo@example.com", False)])
def test_sender_in_the_header_after_login(sender, is_fine):
    driver = Driver()
    driver.sends(HEADER + AUTH + header(**{"from": sender}))
    assert driver.stream.is_closed != is_fine
    assert is_fine or driver.is_closed_with("invalid-from")
