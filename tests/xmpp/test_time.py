"""XEP-0202: Entity Time."""

TIME = "<time xmlns='urn:xmpp:time'/>"


async def test_server_tells_the_time(alice, clock):
    clock.advance(hours=5, milliseconds=250)
    await alice.sends(f"<iq type='get' id='time_1' to='example.org'>{TIME}</iq>")
    await alice.receives(f"""
        <iq type='result' id='time_1' from='example.org' to='{alice.full}'>
          <time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2026-01-01T17:00:00Z</utc></time></iq>""")


async def test_accounts_have_no_clock_and_the_server_takes_no_orders(alice, bob):
    for to in (bob.bare, "nobody@example.org"):
        assert "service-unavailable" in str(await alice.asks(TIME, to=to))
    assert "service-unavailable" in str(await alice.asks(TIME, to="example.org", type="set"))
