"""A running Hearth with accounts juliet, romeo and nurse on example.org."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hearth import Hearth


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    hearth = Hearth(tmp_path_factory.mktemp("hearth") / "home")
    hearth.set_up()
    for username in ("juliet", "romeo", "nurse"):
        hearth.add_user(username)
    hearth.start()
    yield hearth
    hearth.kill()
