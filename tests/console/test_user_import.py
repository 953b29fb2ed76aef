"""Users imported from a file and exported to one: the check, the thread, its report, who may, what is kept where."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, Client
from django.urls import reverse

from accounts import services
from accounts.models import AuditEntry, Group, User
from adminconsole import imports
from adminconsole.csvfiles import BOM, cell
from tests.conftest import PASSWORD
from xmppd.services import db, properties

pytestmark = pytest.mark.django_db(transaction=True)  # the import has a connection of its own

FILE = f"""username;password;name;email;groups
romeo;{PASSWORD};Romeo;romeo@example.com;Montague|Friends
boss;{PASSWORD};;;
bad name;{PASSWORD};;;
nurse;;Nurse;;
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, home=tmp_path))
    yield tmp_path
    finish()


def finish() -> None:
    """Wait for the import's thread."""
    for thread in threading.enumerate():
        if thread.name == "hearth-import":
            thread.join(30)


def send(client: Client, text: str | bytes = FILE, name: str = "people.csv") -> Any:
    data = text.encode() if isinstance(text, str) else text
    return client.post(reverse("user-import"), {"file": SimpleUploadedFile(name, data)})


def waiting(home: Path) -> list[Path]:
    return sorted((home / "tmp").glob("import-*.csv"))


def listed(response: Any) -> dict[str, str]:
    return {row.jid: row.status for row, _label, _tone in response.context["page"].object_list}


def test_the_page_says_the_limits_and_the_form_of_the_file(owner_client: Client) -> None:
    html = owner_client.get(reverse("user-import")).content.decode()
    assert "At most 5.0 MB and 20,000 rows" in html
    assert "username,password,name,email,groups" in html


def test_the_check_reports_every_row_and_changes_nothing(owner_client: Client, home: Path) -> None:
    response = owner_client.get(send(owner_client, BOM + FILE).headers["Location"])
    statuses = listed(response)
    assert statuses.pop("nurse@example.org") == statuses.pop("romeo@example.org") == "new"
    assert statuses.pop("boss@example.org") == "exists"
    assert list(statuses.values()) == ["error"]
    assert response.context["job"].counts == {"new": 2, "exists": 1, "error": 1}
    html = response.content.decode()
    assert "Create 2 users" in html
    assert "1 row with a problem is left out." in html
    assert PASSWORD not in html
    assert not User.objects.filter(username="romeo").exists()
    [path] = waiting(home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for kept in (home / "tmp").iterdir():
        assert kept == path or PASSWORD not in kept.read_text()


def test_rows_can_be_filtered_by_what_becomes_of_them(owner_client: Client) -> None:
    address = send(owner_client).headers["Location"]
    assert set(listed(owner_client.get(address, {"show": "new"})).values()) == {"new"}
    assert set(listed(owner_client.get(address, {"show": "error"})).values()) == {"error"}
    assert "nurse@example.org" in listed(owner_client.get(address, {"show": "notes"}))
    assert list(listed(owner_client.get(address, {"q": "montague"}))) == ["romeo@example.org"]


def test_applying_creates_the_accounts_and_their_groups(
    owner_client: Client, owner: User, home: Path
) -> None:
    address = send(owner_client).headers["Location"]
    assert owner_client.post(address).headers["Location"] == address
    finish()
    response = owner_client.get(address)
    assert response.context["job"].counts == {"created": 2, "exists": 1, "error": 1}
    assert "Result of the import" in response.content.decode()
    romeo = User.objects.get(username="romeo")
    assert romeo.check_password(PASSWORD)
    assert romeo.role == ""
    assert not User.objects.get(username="nurse").has_usable_password()
    assert {"Montague", "Friends"} == set(
        Group.objects.filter(memberships__user=romeo).values_list("name", flat=True)
    )
    assert waiting(home) == []  # the passwords are gone with it
    made = AuditEntry.objects.filter(action="user-created", detail="import")
    assert {row.target for row in made} == {"romeo@example.org", "nurse@example.org"}
    whole = AuditEntry.objects.get(action="users-imported")
    assert (whole.actor, whole.target, whole.door) == (owner.jid, "people.csv", "console")
    assert whole.after == {"created": 2, "exists": 1, "error": 1}


def test_applying_twice_creates_once(owner_client: Client) -> None:
    address = send(owner_client).headers["Location"]
    owner_client.post(address)
    finish()
    assert owner_client.post(address).headers["Location"] == address
    finish()
    assert AuditEntry.objects.filter(action="users-imported").count() == 1
    assert owner_client.get(address).context["job"].counts["created"] == 2


def test_progress_is_shown_with_and_without_scripts(owner_client: Client, home: Path, owner: User) -> None:
    job = imports.check(FILE.encode(), name="people.csv", user=owner)
    job.state, job.done = "running", 1
    job._save()
    address = reverse("user-import-report", args=[job.token])
    with db.file_lock(home / "tmp" / "importing.lock"):
        (home / "tmp" / "importing").write_text(job.token)
        html = owner_client.get(address).content.decode()
        assert "1 of 2 users created" in html
        assert '<progress class="progress" value="1" max="2"' in html
        assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in html
        assert 'hx-trigger="every 1s"' in html
        assert "1 of 2" in owner_client.get(reverse("user-import")).content.decode()
        # Another one has to wait.
        other = send(owner_client).headers["Location"]
        response = owner_client.post(other, follow=True)
        assert "Another import runs at the moment." in response.content.decode()
        assert response.context["job"].state == "checked"
    # The server ended in the middle of it.
    assert "The import stopped before its end" in owner_client.get(address).content.decode()


def test_the_page_that_watches_is_told_of_the_end(owner_client: Client) -> None:
    address = send(owner_client).headers["Location"]
    owner_client.post(address)
    finish()
    response = owner_client.get(address, headers={"HX-Request": "true", "HX-Target": "import-progress"})
    assert (response.status_code, response.headers["HX-Refresh"]) == (204, "true")


def test_an_import_that_fails_says_what_was_done(
    owner_client: Client, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_args: Any, **_kwargs: Any) -> int:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(services, "import_users", fall)
    address = send(owner_client).headers["Location"]
    owner_client.post(address)
    finish()
    response = owner_client.get(address)
    assert "0 of 2 users were created" in response.content.decode()
    assert response.context["job"].counts == {"exists": 1, "error": 3}
    assert waiting(home) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\n\n \n", "The file holds no users."),
        (b"caf\xe9\n", "The file is not UTF-8 text."),
        (b'"open', "cannot be read"),
        (b"a" * (imports.MAX_BYTES + 1), "larger than 5.0 MB"),
        (b"u,pass word long\n" * 5 + b"\n".join(b"u%d" % n for n in range(20_000)), "at most 20,000"),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    owner_client: Client, home: Path, data: bytes, said: str
) -> None:
    response = send(owner_client, data)
    assert response.status_code == 422
    assert said in response.content.decode()
    assert waiting(home) == []


def test_a_post_without_a_file_asks_for_one(owner_client: Client) -> None:
    response = owner_client.post(reverse("user-import"), {})
    assert response.status_code == 422
    assert "Choose a file." in response.content.decode()


def test_discarding_deletes_the_file(owner_client: Client, home: Path) -> None:
    address = send(owner_client).headers["Location"]
    owner_client.post(address, {"discard": "1"})
    assert not list((home / "tmp").glob("import-*"))
    assert owner_client.get(address).headers["Location"] == reverse("user-import")


def test_files_are_deleted_after_an_hour(owner_client: Client, home: Path) -> None:
    address = send(owner_client).headers["Location"]
    young = send(owner_client).headers["Location"]
    old = time.time() - imports.KEPT_SECONDS - 1
    token = address.strip("/").rpartition("/")[2]
    for path in (home / "tmp").glob(f"import-{token}*"):
        os.utime(path, (old, old))
    assert owner_client.get(address).status_code == 302
    imports.sweep()
    assert len(waiting(home)) == 1
    assert owner_client.get(young).status_code == 200


def test_the_report_belongs_to_who_uploaded_it(
    owner_client: Client, browse: Callable[..., Client], make_user: Callable[..., Any]
) -> None:
    address = send(owner_client).headers["Location"]
    other = browse(make_user("helper", role="user_manager"))
    assert other.get(address).status_code == 302
    assert other.get(f"{address}report.csv").status_code == 404
    assert other.post(address).status_code == 302
    finish()
    assert not User.objects.filter(username="romeo").exists()
    assert imports.find("../importing", make_user("x")) is None


def test_auditors_do_not_import(auditor_client: Client) -> None:
    assert auditor_client.get(reverse("user-import")).status_code == 403
    assert send(auditor_client).status_code == 403


def test_the_report_can_be_downloaded_and_runs_no_formula(owner_client: Client) -> None:
    text = f"username,password,name\nromeo,{PASSWORD},=HYPERLINK(1)\n@evil,{PASSWORD},x\n"
    address = send(owner_client, text).headers["Location"]
    response = owner_client.get(f"{address}report.csv")
    assert response.headers["Content-Disposition"] == 'attachment; filename="hearth-import-report.csv"'
    rows = read(response)
    assert rows[0] == ["Line", "User", "Name", "Groups", "Result", "Remarks"]
    assert rows[1][:3] == ["2", "romeo@example.org", "'=HYPERLINK(1)"]
    assert rows[2][1].startswith("'@") or rows[2][1][0] not in "=+-@"


def read(response: Any) -> list[list[str]]:
    text = response.getvalue().decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


# --- export


@pytest.fixture
def people(make_user: Callable[..., Any], actor: Any) -> None:
    group = services.create_group(name="Design", domain=None, actor=actor)
    for name, shown in (("anna", "=1+1"), ("berta", "Berta"), ("carl", "-2")):
        services.add_member(group, make_user(name, name=shown), actor=actor)
    services.create_group(name="@home", domain=None, actor=actor)


def test_the_list_can_be_exported_with_its_filters(owner_client: Client, people: None) -> None:
    response = owner_client.get(reverse("user-export"))
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = read(response)
    assert rows[0][:4] == ["username", "name", "email", "groups"]
    assert [row[0] for row in rows[1:]] == ["anna", "berta", "boss", "carl"]
    assert [row[1] for row in rows[1:]] == ["'=1+1", "Berta", "", "'-2"]
    assert rows[1][3] == "Design"
    assert [row[0] for row in read(owner_client.get(reverse("user-export"), {"role": "owner"}))[1:]] == [
        "boss"
    ]
    assert [row[0] for row in read(owner_client.get(reverse("user-export"), {"q": "bert"}))[1:]] == ["berta"]


def test_long_lists_come_whole(owner_client: Client, people: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adminconsole.views.user_export.CHUNK", 2)
    assert [row[0] for row in read(owner_client.get(reverse("user-export")))[1:]] == [
        "anna",
        "berta",
        "boss",
        "carl",
    ]


def test_an_export_can_be_imported(owner_client: Client, people: None) -> None:
    data = owner_client.get(reverse("user-export")).getvalue()  # type: ignore[attr-defined]
    User.objects.filter(username="berta").delete()
    row = next(row for row in services.read_users(data) if row.username == "berta")
    assert (row.status, row.name, row.groups) == ("new", "Berta", ("Design",))


def test_auditors_may_export(auditor_client: Client, people: None) -> None:
    assert len(read(auditor_client.get(reverse("user-export")))) == 5


@pytest.mark.django_db(transaction=True)  # another thread reads the rows
def test_the_server_streams_without_gathering(owner: User, people: None, actor: Any) -> None:
    properties.set_value("console.allowed_hosts", ["testserver"], actor=actor)

    async def fetch() -> list[bytes]:
        client = AsyncClient()
        await client.aforce_login(owner)
        response = await client.get(reverse("user-export"))
        assert response.is_async
        return [part async for part in response.streaming_content]

    parts = asyncio.run(fetch())
    assert len(parts) == 2  # the header comes before the first row is read
    assert b"anna" in parts[1]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_formulas_become_text(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell("plain") == "plain"
    assert cell(None) == ""
