"""XEP-0199: XMPP Ping."""

PING = "<ping xmlns='urn:xmpp:ping'/>"


async def test_server_answers_a_ping(alice):
    await alice.sends(f"<iq type='get' id='s2c1' to='example.org'>{PING}</iq>")
    await alice.receives("<iq type='result' id='s2c1' from='example.org' to='alice@example.org/desktop'/>")


async def test_own_account_answers_a_ping(alice):
    await alice.sends(f"<iq type='get' id='c2s1'>{PING}</iq>")
    await alice.receives("<iq type='result' id='c2s1' from='alice@example.org'/>")


async def test_account_of_another_answers_a_ping(alice, bob):
    await alice.sends(f"<iq type='get' id='c2c1' to='{bob.bare}'>{PING}</iq>")
    await alice.receives(f"<iq type='result' id='c2c1' from='{bob.bare}'/>")
    await bob.receives_nothing()


async def test_missing_account_and_hidden_resource_look_alike(alice, bob):
    error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    for number, to in enumerate(["nobody@example.org", "nobody@example.org/x", bob.full, f"{bob.bare}/none"]):
        await alice.sends(f"<iq type='get' id='c2c{number}' to='{to}'>{PING}</iq>")
        await alice.receives(f"<iq type='error' id='c2c{number}' from='{to}'>{error}</iq>")
    await bob.receives_nothing()


async def test_silent_client_is_pinged_then_disconnected(server, clock, alice):
    clock.advance(minutes=7)
    server.sweep()
    await alice.receives("<iq type='get' from='example.org'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert alice.is_connected
    clock.advance(minutes=3)
    server.sweep()
    await alice.is_disconnected("connection-timeout")
