"""From an empty folder to two people chatting, all of it in a browser and two clients."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Page, expect

from tests.clients import Person
from tests.hearth import PASSWORD, Hearth

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def console_of(hearth: Hearth) -> str:
    return re.findall(r"http://127\.0\.0\.1:\d+(?=/)", hearth.text())[-1]


async def choose(page: Page, name: str, value: str) -> None:
    """A radio button or check box, by its card."""
    await page.locator(f'label:has(input[name="{name}"][value="{value}"])').click()


async def go_on(page: Page) -> None:
    await page.locator(".setup-foot button.primary").click()


async def is_at(page: Page, step: str) -> None:
    await page.wait_for_url(f"**/setup/{step}/")


async def answer_everything(page: Page, hearth: Hearth, language: str, keep) -> None:
    """The wizard, from its first page to its last."""
    await page.goto(f"{console_of(hearth)}/setup/language/")
    await choose(page, "language", language)
    await go_on(page)
    await is_at(page, "server")
    await expect(page.locator("html")).to_have_attribute("lang", re.compile(language[:2]))
    await page.fill("input[name=domain]", hearth.domain)
    await keep(f"wizard-{language}-server")
    await go_on(page)
    await is_at(page, "database")
    await expect(page.locator("input[name=kind][value=sqlite]")).to_be_checked()
    await keep(f"wizard-{language}-database")
    await page.locator(".setup-foot a").click()  # back
    await is_at(page, "server")
    await expect(page.locator("input[name=domain]")).to_have_value(hearth.domain)
    await go_on(page)
    await go_on(page)
    await is_at(page, "accounts")
    await keep(f"wizard-{language}-accounts")
    await go_on(page)
    await is_at(page, "administrator")
    await page.fill("input[name=username]", "admin")
    await page.fill("input[name=password]", PASSWORD)
    await page.fill("input[name=password2]", PASSWORD)
    await keep(f"wizard-{language}-administrator")
    await go_on(page)
    await is_at(page, "review")
    await expect(page.locator("dl.review")).to_contain_text(f"admin@{hearth.domain}")
    await keep(f"wizard-{language}-review")
    await go_on(page)
    await page.wait_for_url("**/welcome/")


async def create_user(page: Page, hearth: Hearth, username: str) -> None:
    await page.goto(f"{hearth.console}/users/create/")
    await page.fill("input[name=username]", username)
    await choose(page, "how", "typed")
    await page.fill("input[name=password]", PASSWORD)
    await page.fill("input[name=password_repeat]", PASSWORD)
    await page.locator("main .buttons button.primary").click()
    await page.wait_for_url(re.compile(r"/users/\d+/"))


async def create_shared_group(page: Page, hearth: Hearth, name: str, members: list[str]) -> None:
    await page.goto(f"{hearth.console}/groups/create/")
    await page.fill("input[name=name]", name)
    await page.locator("main .buttons button.primary").click()
    await page.wait_for_url(re.compile(r"/groups/\d+/"))
    group = re.search(r"/groups/\d+/", page.url)[0]
    await page.goto(f"{hearth.console}{group}members/add/")
    for member in members:
        await page.locator("label.choice", has_text=f"{member}@{hearth.domain}").click()
    await page.locator("main .buttons button.primary").click()
    await page.wait_for_url(f"**{group}")
    await page.goto(f"{hearth.console}{group}sharing/")
    await choose(page, "mode", "members")
    await expect(page.locator("#preview li").first).to_be_visible()  # what it will mean, before it is saved
    await page.locator("main .buttons button.primary").click()
    await expect(page.locator("main")).to_contain_text(name)


async def come_online_and_chat(juliet: Person, romeo: Person) -> None:
    await juliet.goes_online()
    assert juliet.client_roster["romeo@example.org"]["groups"] == ["Verona"]
    assert juliet.client_roster["romeo@example.org"]["subscription"] == "both"
    await romeo.goes_online()
    await juliet.sees("presence_available", lambda p: p["from"] == romeo.boundjid)
    await romeo.sees("presence_available", lambda p: p["from"] == juliet.boundjid)
    juliet.says("romeo@example.org", "Wherefore art thou?")
    message = await romeo.sees("message")
    assert (message["body"], message["from"]) == ("Wherefore art thou?", juliet.boundjid)
    romeo.says(message["from"], "Here")
    assert (await juliet.sees("message"))["body"] == "Here"


async def test_from_an_empty_folder_to_two_people_chatting(hearth, page, person, keep):
    await asyncio.to_thread(hearth.start, is_set_up=False)
    await answer_everything(page, hearth, "en", keep)
    await expect(page.locator("#services")).to_contain_text("The chat services are running")
    await keep("welcome")
    await asyncio.to_thread(hearth.read_ports)

    for username in ("juliet", "romeo"):
        await create_user(page, hearth, username)
    await create_shared_group(page, hearth, "Verona", ["juliet", "romeo"])
    await keep("group-sharing")

    await page.goto(f"{hearth.console}/sessions/")
    await expect(page.locator("#sessions-list")).to_contain_text("Nobody is connected")
    juliet, romeo = person("juliet"), person("romeo")
    await come_online_and_chat(juliet, romeo)
    await expect(page.locator("#sessions-list tbody tr")).to_have_count(2)  # by itself, without a reload
    await keep("sessions")

    await page.goto(f"{hearth.console}/users/?q=romeo")
    await page.locator("main table a", has_text="romeo").first.click()
    await page.locator("details.menu summary", has_text="More").click()
    await page.locator("a.menu-item", has_text="Lock").click()
    await page.locator("button", has_text="Lock user").click()
    await romeo.sees("disconnected")
    await juliet.sees("presence_unavailable", lambda p: p["from"] == romeo.boundjid)
    await expect(page.locator("main")).to_contain_text("Locked")
    await keep("user-locked")

    page.complaints.clear()
    response = await page.goto(f"{hearth.console}/setup/server/")
    assert response.status == 404  # no wizard any more
    page.complaints.clear()  # of the 404 that was asked for


async def test_wizard_in_chinese_goes_on_after_a_restart(hearth, page, keep):
    await asyncio.to_thread(hearth.start, is_set_up=False)
    console = console_of(hearth)
    await page.goto(console)
    await choose(page, "language", "zh-hans")
    await go_on(page)
    await is_at(page, "server")
    await page.fill("input[name=domain]", "例子.cn")
    await expect(page.locator("html")).to_have_attribute("lang", re.compile("^zh"))
    await go_on(page)
    await is_at(page, "database")

    hearth.environ["HEARTH_CONSOLE_PORT"] = console.rpartition(":")[2]
    assert await asyncio.to_thread(hearth.stop) == 0
    await asyncio.to_thread(hearth.start, is_set_up=False)
    await page.goto(console)
    await is_at(page, "database")
    await page.locator(".setup-foot a").click()
    await expect(page.locator("input[name=domain]")).to_have_value("例子.cn")

    await answer_everything(page, hearth, "zh-hans", keep)
    await expect(page.locator("#services .alert.ok, #services [class*=ok]").first).to_be_visible()
    await keep("welcome-zh-hans")
    await asyncio.to_thread(hearth.read_ports)
    assert {"c2s", "c2s_tls"} <= set(hearth.ports)
