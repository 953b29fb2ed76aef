"""Every page in Simplified Chinese: no English is left over, dates and figures are written as in Chinese."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone, translation

from accounts import registry
from accounts.models import User
from adminconsole import formats
from adminconsole.views import audit
from tests.console.routes import ROUTES
from tests.console.service import Service
from tests.console.test_setup_wizard import ANSWERS, answer, browser, url
from tools.translations import LOCALES, ROOT, messages, po_path
from xmppd.services import properties

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"}
HAN = re.compile("[\u4e00-\u9fff]")
# Two English words in a row, the second one without a capital: no name, no identifier.
ENGLISH = re.compile(r"\b[A-Za-z]{2,} [a-z]{2,}\b(?![.@/_-]\w)")
# What is quoted from a client, and the commands of one.
QUOTED = re.compile("“[^”]*”|^/.*")
SHOWN = frozenset({"aria-label", "title", "placeholder", "alt", "label", "data-confirm"})
# What is typed or copied as it stands.
VERBATIM = frozenset({"script", "style", "code", "kbd", "pre", "svg", "textarea"})
# Texts that may be anybody's own words, in any language.
SAMPLES = frozenset(
    {"English", "简体中文", "Hearth", "API", "KiB", "MiB", "GiB", "SHA-256", "friends", "Carol"}
)
TRANSLATED = {
    text
    for text, translated in messages(po_path(ROOT, LOCALES[0]).with_suffix(".mo").read_bytes())
    if HAN.search(translated)
} - SAMPLES


class Shown(HTMLParser):
    """The texts and the spoken or hovering attributes of a page, one string each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.language = ""
        self._verbatim = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._verbatim += tag in VERBATIM
        for name, value in attrs:
            is_shown = name in SHOWN or (tag == "template" and name.startswith("data-"))
            if value and is_shown:
                self.texts.append(value)
            if tag == "html" and name == "lang":
                self.language = value or ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<path/>` within a picture."""

    def handle_endtag(self, tag: str) -> None:
        self._verbatim -= tag in VERBATIM

    def handle_data(self, data: str) -> None:
        if not self._verbatim and (text := " ".join(data.split())):
            self.texts.append(text)


def english(page: str) -> list[str]:
    """The texts of a page that a Chinese reader should not see."""
    return [text for text in Shown(page).texts if text in TRANSLATED or ENGLISH.search(QUOTED.sub("", text))]


def check(response: Any) -> str:
    page: str = response.content.decode()
    assert Shown(page).language == "zh-Hans"
    assert not english(page)
    return page


def is_page(response: Any) -> bool:
    return response.status_code not in (302, 405) and response.headers.get("Content-Type", "").startswith(
        "text/html"
    )


def chinese(client: Client) -> Client:
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = CHINESE["Accept-Language"]
    return client


@pytest.fixture(autouse=True)
def _actions_of_other_tests() -> None:
    audit.forget_actions()


def test_english_is_noticed() -> None:
    assert "Saved." in TRANSLATED
    assert len(TRANSLATED) > 1000
    assert english('<p>Saved.</p><i title="Not yet translated">设置</i>') == ["Saved.", "Not yet translated"]
    assert not english("<p>设置</p><code>manage.py serve</code><p>Conversations 2.17 alice@example.org</p>")


@pytest.mark.django_db
@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_page_is_in_chinese(owner_client: Client, filled: Callable[[str], str], route: str) -> None:
    client, address = chinese(owner_client), filled(route)
    for response in (client.get(address), client.get(address + "?q=zzz")):
        if is_page(response):
            check(response)


@pytest.mark.django_db
@pytest.mark.parametrize("route", sorted(ROUTES.keys() - {"logout/"}))
def test_what_forms_answer_is_in_chinese(
    owner_client: Client, filled: Callable[[str], str], route: str
) -> None:
    """An empty form of every page, with its complaints or with the message on the next page."""
    client = chinese(owner_client)
    response = client.post(filled(route))
    if is_page(response):
        check(response)
    elif response.status_code == 302:
        check(client.get("/welcome/"))


@pytest.mark.django_db
def test_a_stranger_reads_chinese(stranger_client: Client) -> None:
    client = chinese(stranger_client)
    check(client.get("/login/"))
    check(client.get("/login/link/old/"))
    page = check(client.post("/login/", {"username": "nobody", "password": "wrong"}))
    assert "用户名或密码错误。" in page
    assert "此名称不属于本控制台" in check(client.get("/", headers={"Host": "other.example"}))


@pytest.mark.django_db
def test_pages_of_errors_are_in_chinese(auditor_client: Client, owner_client: Client) -> None:
    assert "您无权执行此操作" in check(chinese(auditor_client).get("/users/create/"))
    assert "此页面不存在" in check(chinese(owner_client).get("/nowhere/"))
    client = chinese(Client(headers={"Host": "localhost"}, enforce_csrf_checks=True))
    assert "此表单已过期" in check(client.post("/login/"))


@pytest.fixture
def service(installed: Any) -> Iterator[Service]:
    service = Service()
    yield service
    service.stop()


@pytest.mark.django_db(transaction=True)
def test_pages_about_clients_are_in_chinese(
    service: Service, make_user: Callable[..., Any], owner_client: Client
) -> None:
    user, client = make_user("alice"), chinese(owner_client)
    away = "<presence><show>dnd</show><priority>5</priority></presence>"
    service.log_in("alice@example.org/phone", presence=away, client="Conversations 2.17")
    service.log_in("alice@example.org/home", tls=False)
    query = "?jid=alice@example.org/phone"
    for address in ("/", "/sessions/", f"/sessions/details/{query}", f"/sessions/close/{query}"):
        check(client.get(address))
    for address in (
        "/users/",
        f"/users/{user.pk}/",
        f"/users/{user.pk}/sessions/",
        f"/users/{user.pk}/delete/",
    ):
        check(client.get(address))
    assert "请勿打扰" in client.get("/sessions/").content.decode()
    review = client.post("/sessions/message/", {"audience": "all", "body": "你好"})
    assert "2 个会话" in check(review)


@pytest.mark.django_db
def test_settings_explain_themselves_in_chinese(owner_client: Client) -> None:
    """Those of every module, also where no page shows them."""
    properties.discover()
    with translation.override("zh-hans"):
        unknown = [
            f"{each.name}: {text}"
            for each in registry.all_settings()
            for text in map(str, (each.help, each.label, each.section_title))
            if not HAN.search(text)
        ]
        unknown += [
            f"{each.name}: {title}"
            for each in registry.all_settings()
            for title in (*(str(title) for _value, title in each.choices or []), str(each.zero))
            if title in TRANSLATED
        ]
    assert not unknown


@pytest.mark.django_db(transaction=True)
def test_the_wizard_is_in_chinese(fresh: Path) -> None:
    client = chinese(browser())
    for step in ANSWERS:
        check(client.get(url(step), follow=True))
        if step != "language":
            complaints = client.post(url(step), {"kind": "postgresql"})
            if is_page(complaints):
                check(complaints)
        answer(client, step, language="zh-hans")
    assert "尚未写入任何内容。" in check(client.get(url("review")))
    far = chinese(browser("203.0.113.9"))
    assert "安装令牌" in check(far.get("/", follow=True))
    assert "令牌不正确。" in check(far.post("/setup/token/", {"token": "wrong"}))


@pytest.mark.django_db
def test_dates_and_figures(owner_client: Client, owner: User) -> None:
    moment = datetime(2024, 3, 9, 16, 5, tzinfo=ZoneInfo("UTC"))
    now = timezone.now()
    with translation.override("zh-hans"):
        assert ">2024年3月9日 16:05<" in formats.when(moment)
        assert 'title="2024年3月9日 16:05"' in formats.ago(moment)
        assert ">3 天前<" in formats.ago(now - timedelta(days=3))
        assert ">2 小时后<" in formats.ago(now + timedelta(hours=2, minutes=1))
        assert formats.duration(timedelta(days=3, hours=4)) == "3 天 4 小时"
        assert formats.bytes_(1536) == "1.5 KB"
        assert formats.number(1204567) == "1204567"
    User.objects.filter(pk=owner.pk).update(created=moment)
    assert "2024年3月9日 16:05" in chinese(owner_client).get(f"/users/{owner.pk}/").content.decode()


def test_what_is_shown_of_a_setting_can_be_typed_again() -> None:
    """In every language of the console: durations, sizes and switches."""
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            for each in registry.all_settings():
                if each.kind in ("timedelta", "size", "bool"):
                    assert each.parse(each.format(each.default)) == each.default, (language, each.name)
