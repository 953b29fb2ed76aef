"""The console in a real browser: every page without a complaint, colours, keyboard, a narrow screen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.conftest import sign_in
from tests.hearth import PASSWORD, Hearth

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# Forms that no link of the menu or of a list leads to.
FORMS = (
    "users/create/",
    "users/import/",
    "groups/create/",
    "sessions/message/",
    "settings/c2s.tls/",
    "search/?q=juliet",
)


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    folder = tmp_path_factory.mktemp("hearth")
    people = folder / "people.csv"
    people.write_text(
        "username,password,name,email,groups\n"
        f"juliet,{PASSWORD},Juliet Capulet,,Verona\n"
        f"romeo,{PASSWORD},Romeo Montague,romeo@example.org,Verona\n"
    )
    hearth = Hearth(folder / "home")
    hearth.set_up()
    hearth.manage("importusers", str(people), "--apply")
    hearth.start()
    yield hearth
    hearth.kill()


@pytest_asyncio.fixture
async def console(hearth: Hearth, page: Page) -> Page:
    """Signed in, on the overview."""
    await sign_in(page, hearth)
    return page


async def menu_of(page: Page) -> list[str]:
    links = await page.locator("nav#menu a.nav-item").all()
    return [await link.get_attribute("href") for link in links]


async def addresses_to_walk(page: Page, hearth: Hearth) -> list[str]:
    """The menu, one entry of each list with its tabs, and the forms."""
    addresses = [f"{hearth.console}{href}" for href in await menu_of(page)]
    assert len(addresses) >= 6
    for section in ("users", "groups", "audit"):
        await page.goto(f"{hearth.console}/{section}/")
        links = page.locator(f'main a[href^="/{section}/"]')
        hrefs = {await link.get_attribute("href") for link in await links.all()}
        details = sorted(href for href in hrefs if re.fullmatch(rf"/{section}/\d+/", href))
        await page.goto(f"{hearth.console}{details[0]}")
        tabs = await page.locator("main .tabs a").all()
        addresses += [f"{hearth.console}{details[0]}"]
        addresses += [f"{hearth.console}{await tab.get_attribute('href')}" for tab in tabs]
    return list(dict.fromkeys([*addresses, *(f"{hearth.console}/{form}" for form in FORMS)]))


async def is_narrow_enough(page: Page) -> bool:
    """Nothing has to be scrolled sideways."""
    return await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


async def test_no_page_complains_and_every_page_fits(console, hearth, person, keep):
    """The page fixture fails for any console message, policy violation or missing file."""
    await person("juliet").goes_online()
    addresses = await addresses_to_walk(console, hearth)
    for address in addresses:
        await console.set_viewport_size({"width": 1280, "height": 900})
        response = await console.goto(address)
        assert response.status == 200, address
        assert await console.locator("h1").count() == 1, address
        assert await is_narrow_enough(console), address
        name = re.sub(r"\W+", "-", address.removeprefix(hearth.console)).strip("-") or "overview"
        await keep(f"console-{name}")
        await console.set_viewport_size({"width": 390, "height": 844})
        assert await is_narrow_enough(console), f"{address} at 390 px"
        await keep(f"console-{name}-390")
    assert len(addresses) >= 12


async def test_colours_are_chosen_and_kept(console, hearth, keep):
    async def background() -> str:
        return await console.evaluate("getComputedStyle(document.body).backgroundColor")

    await console.locator("details[data-menu-box] summary").click()
    await console.locator("[data-set-theme=light]").click()
    light = await background()
    await console.locator("[data-set-theme=dark]").click()
    dark = await background()
    assert light != dark
    await console.reload()
    await expect(console.locator("html")).to_have_attribute("data-theme", "dark")
    assert await background() == dark
    await keep("console-dark")


async def test_keyboard_leads_everywhere(console, hearth):
    await console.keyboard.press("g")
    await console.keyboard.press("u")
    await console.wait_for_url("**/users/")
    await console.keyboard.press("/")
    await console.keyboard.type("rom")
    table = console.locator("main table tbody")
    await expect(table).not_to_contain_text("juliet")  # found while one types
    await expect(table).to_contain_text("romeo")
    await console.keyboard.press("Escape")
    await console.keyboard.press("?")
    await expect(console.locator("dialog#keys")).to_be_visible()
    await console.keyboard.press("Escape")
    await expect(console.locator("dialog#keys")).not_to_be_visible()
    await console.keyboard.press("n")
    await console.wait_for_url("**/users/create/")


async def test_menu_of_a_narrow_screen(console, hearth):
    await console.set_viewport_size({"width": 390, "height": 844})
    await console.goto(f"{hearth.console}/")
    groups = console.locator("nav#menu a.nav-item", has_text="Groups")
    await expect(groups).not_to_be_in_viewport()
    await console.locator("a.head-menu").click()
    await expect(groups).to_be_in_viewport()
    await groups.click()
    await console.wait_for_url("**/groups/")


async def test_overview_counts_by_itself(console, person):
    online = console.locator("#tiles .tile", has_text="Users online")
    await expect(online).to_contain_text("0")
    juliet = person("juliet")
    await juliet.goes_online()
    await expect(online).to_contain_text("1 session")
    await juliet.disconnect()
    await expect(online).to_contain_text("0 sessions")
