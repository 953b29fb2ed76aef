"""XEP-0082 and XEP-0203."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.protocol.delay import delay, format_datetime, parse_datetime, stamp_of, stamped
from xmppd.protocol.element import E
from xmppd.protocol.jid import JID
from xmppd.protocol.namespaces import CLIENT, DELAY

MOON = datetime(1969, 7, 21, 2, 56, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1969-07-21T02:56:15Z", MOON),
        ("1969-07-20T21:56:15-05:00", MOON),
        ("1969-07-21T02:56:15.123Z", MOON.replace(microsecond=123000)),
        ("1969-07-21T02:56:15.1234567899+00:00", MOON.replace(microsecond=123456)),
    ],
)
def test_datetime_is_read(text, value):
    assert parse_datetime(text) == value
    assert parse_datetime(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1969-07-21",
        "1969-07-21T02:56:15",
        "1969-07-21 02:56:15Z",
        "1969-13-21T02:56:15Z",
        "1969-02-30T02:56:15Z",
        "1969-07-21T24:00:00Z",
        "1969-07-21T02:56:15.Z",
        "1969-07-21T02:56:15+24:00",
        "1969-07-21T02:56:15Z\n",
        "\u0661969-07-21T02:56:15Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "0000-01-01T00:00:00Z",
    ],
)
def test_what_is_no_datetime_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
        parse_datetime(text)


def test_datetime_is_written_in_utc():
    assert format_datetime(MOON.astimezone(timezone(timedelta(hours=-5)))) == "1969-07-21T02:56:15Z"
    assert format_datetime(MOON.replace(microsecond=120)) == "1969-07-21T02:56:15.000120Z"
    with pytest.raises(ValueError, match="naive"):
        format_datetime(datetime(2020, 1, 1))


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read_again(value):
    assert parse_datetime(format_datetime(value)) == value


def test_delay_is_written_and_found():
    element = delay(MOON, JID("", "example.com"), "Offline storage")
    assert element == E(DELAY, "delay", "Offline storage", stamp="1969-07-21T02:56:15Z", from_="example.com")
    assert stamp_of(E(CLIENT, "message", element)) == MOON
    assert stamp_of(E(CLIENT, "message")) is None
    assert stamp_of(E(CLIENT, "message", E(DELAY, "delay", stamp="yesterday"))) is None


STAMP = "<delay xmlns='urn:xmpp:delay' stamp='1969-07-21T02:56:15Z' from='example.org'/>"
OTHERS = "<delay xmlns='urn:xmpp:delay' stamp='2002-01-01T00:00:00Z' from='far.example'/>"
FORWARDED = f"<forwarded xmlns='urn:xmpp:forward:0'>{STAMP}<message xmlns='jabber:client'/></forwarded>"


@pytest.mark.parametrize(
    ("letter", "expected"),
    [
        ("<message from='a@b' to='c@d'/>", f"<message from='a@b' to='c@d'>{STAMP}</message>"),
        ("<presence from='a@b' to='c@d'/>", f"<presence from='a@b' to='c@d'>{STAMP}</presence>"),
        (
            "<presence from='a@b'><show>away</show></presence>",
            f"<presence from='a@b'><show>away</show>{STAMP}</presence>",
        ),
        (f"<message from='a@b'><x/>{OTHERS}</message>", f"<message from='a@b'><x/>{OTHERS}{STAMP}</message>"),
        (f"<message from='a@b'>{FORWARDED}</message>", f"<message from='a@b'>{FORWARDED}{STAMP}</message>"),
        (f"<message from='a@b'>{STAMP}<x/></message>", f"<message from='a@b'>{STAMP}<x/></message>"),
        ("<iq from='a@b' type='result' id='1'/>", "<iq from='a@b' type='result' id='1'/>"),
    ],
)
def test_written_stanza_is_stamped_once(letter, expected):
    """By whoever held it back: a stamp of another server, or inside what is forwarded, says nothing of that."""
    assert stamped(letter.encode(), MOON, JID.parse("example.org"), {"example.org"}) == expected.encode()
