"""What is an IP address, and which of them lead back to this machine."""

import pytest

from xmppd.protocol.addresses import is_address, is_loopback, parse_address


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_addresses(text, parsed):
    assert str(parse_address(text)) == parsed
    assert is_address(text)


@pytest.mark.parametrize(
    "text", ["", "localhost", "example.org", "192.0.2", "[::1", "::1]", "192.0.2.1:80", "[]", "%"]
)
def test_other_texts(text):
    assert parse_address(text) is None
    assert not is_address(text)
    assert not is_loopback(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("::1%lo", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::", False),
        ("::ffff:192.0.2.1", False),
    ],
)
def test_loopback(text, expected):
    assert is_loopback(text) is expected
