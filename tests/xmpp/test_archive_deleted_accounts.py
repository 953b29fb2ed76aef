"""What is left in the archive of an account that an administrator deletes while it is online."""

from accounts import services
from accounts.models import User
from tests.conversation import settled
from xmppd.services.archive_query import Query, count
from xmppd.services.db import db


async def test_nothing_is_left_and_the_other_side_keeps_its_copies(server, actor, alice, bob):
    users = [await User.objects.aget(username=name) for name in ("alice", "bob")]
    await alice.is_available()
    await bob.is_available()
    for number in range(3):
        await alice.sends(
            f"<message to='{bob.jid}' type='chat' id='number {number}'><body>Hello</body></message>"
        )
        await bob.receives(f"<message type='chat' id='number {number}'><body>Hello</body></message>")
    ids = [user.pk for user in users]
    assert [await db(count, user_id, Query()) for user_id in ids] == [3, 3]
    await db(services.delete_user, users[0], actor=actor)
    await settled(server)
    assert [await db(count, user_id, Query()) for user_id in ids] == [0, 3]
