"""What happens to accounts, told to higher layers inside the same transaction: theirs changes too, or nothing does.

The bus tells those who show or serve an account; a message that is lost there costs freshness only.
"""

from __future__ import annotations

from django.dispatch import Signal

# Whoever logged in without the password may not do so again by what was given to him `before` (None: ever).
# Arguments: user_id: int, before: datetime | None
tokens_ended = Signal()
