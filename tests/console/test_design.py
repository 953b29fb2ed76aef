"""The design system: contrast of both themes, template tags, pages that must render with nothing at hand."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from django import forms
from django.core.paginator import Paginator
from django.template import Context, Template
from django.template.loader import get_template, render_to_string
from django.test import RequestFactory
from django.utils import timezone

from adminconsole import formats
from adminconsole.icons import ICONS

ROOT = Path(__file__).resolve().parents[2]
CSS = (ROOT / "static" / "hearth.css").read_text()
TONES = ("accent", "ok", "warn", "bad", "info")
GROUNDS = ("bg", "surface", "sunken", "raised", "hover")
TEXT_PAIRS = [
    *product(("text", "muted", *TONES), GROUNDS),
    *((tone, f"{tone}-soft") for tone in TONES),
    *(("text", f"{tone}-soft") for tone in TONES),
    *(("muted", "accent-soft"), ("text", "mark"), ("on-accent", "accent"), ("on-accent", "accent-strong")),
    *(("on-bad", "bad"), ("on-bad", "bad-strong"), ("bad-strong", "bad-soft"), ("accent-strong", "bg")),
]
EDGE_PAIRS = [*product(("edge", "focus"), ("bg", "surface", "sunken"))]


def _tokens(selector: str) -> dict[str, str]:
    start = CSS.index(selector)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", CSS[start : CSS.index("}", start)]))


LIGHT = _tokens(":root {")
DARK = LIGHT | _tokens(':root[data-theme="dark"]')


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def render(source: str, *, query: str = "", **values: object) -> str:
    context = Context({"request": RequestFactory().get(f"/users/{query}"), **values})
    return Template("{% load hearth %}" + source).render(context)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_meets_wcag_aa(theme: dict[str, str]) -> None:
    weak = [pair for pair in TEXT_PAIRS if _contrast(theme[pair[0]], theme[pair[1]]) < 4.5]
    weak += [pair for pair in EDGE_PAIRS if _contrast(theme[pair[0]], theme[pair[1]]) < 3]
    assert not weak


def test_avatars_are_legible() -> None:
    pairs = re.findall(r"--av: (#\w{6}); --av-text: (#\w{6})", CSS)
    assert len(pairs) == 8
    assert all(_contrast(*pair) >= 4.5 for pair in pairs)


def test_dark_tokens_are_the_same_by_system_and_by_choice() -> None:
    assert _tokens(':root[data-theme="auto"]') == _tokens(':root[data-theme="dark"]')


def test_no_template_breaks_the_content_security_policy() -> None:
    """No inline style, no inline script, no on... attribute, no htmx attribute that needs eval."""
    forbidden = re.compile(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son[a-z]+=|hx-on|hx-vals=.js:", re.I)
    bad = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in (ROOT / "templates").rglob("*.html")
        if (found := forbidden.search(path.read_text()))
    ]
    assert not bad


@pytest.mark.parametrize("path", sorted((ROOT / "templates").rglob("*.html")), ids=lambda p: p.name)
def test_every_template_compiles(path: Path) -> None:
    get_template(str(path.relative_to(ROOT / "templates")))


def test_every_icon_named_in_a_template_exists() -> None:
    named = {
        name
        for path in (ROOT / "templates").rglob("*.html")
        for name in re.findall(r"""\{% icon ["']([\w-]+)["']|icon_name=["']([\w-]+)["']""", path.read_text())
        for name in name
        if name
    }
    assert named
    assert named <= set(ICONS)


@pytest.mark.parametrize("code", ["400", "403", "403_csrf", "404", "500", "503"])
def test_error_pages_need_no_request_user_or_database(code: str) -> None:
    html = render_to_string(f"adminconsole/{code}.html")
    assert "<h1>" in html
    assert 'data-theme="auto"' in html
    title = re.search(r"<title>(.+) · Hearth", html)
    assert title
    assert f"<h1>{title[1]}</h1>" in html


class ExampleForm(forms.Form):
    username = forms.CharField(help_text="Before the @")
    password = forms.CharField(widget=forms.PasswordInput)
    tls = forms.BooleanField(required=False, label="Require TLS")
    store = forms.ChoiceField(widget=forms.RadioSelect, choices=[("s", "SQLite"), ("p", "PostgreSQL")])
    store.choice_help = {"s": "Nothing to install"}  # type: ignore[attr-defined]


def test_field_ties_hint_and_error_to_its_control() -> None:
    html = render("{% field form.username %}", form=ExampleForm({}))
    assert 'aria-describedby="id_username_hint id_username_error"' in html
    assert 'aria-invalid="true"' in html
    assert 'id="id_username_hint"' in html
    assert 'id="id_username_error"' in html
    assert '<label for="id_username">' in html


def test_field_escapes_what_was_typed() -> None:
    html = render("{% field form.username %}", form=ExampleForm({"username": '"><script>'}))
    assert "<script>" not in html


def test_password_field_never_repeats_its_value() -> None:
    html = render("{% field form.password meter=True %}", form=ExampleForm({"password": "sekrit-horse"}))
    assert "sekrit-horse" not in html
    assert 'data-meter="id_password_meter"' in html
    assert 'id="id_password_meter"' in html


def test_radio_group_is_a_fieldset_of_cards() -> None:
    html = render("{% field form.store %}", form=ExampleForm())
    assert '<legend class="field-label">Store</legend>' in html
    assert "choices cards" in html
    assert "Nothing to install" in html


def test_form_errors_lead_to_their_fields() -> None:
    html = render("{% form_errors form %}", form=ExampleForm({"store": "s", "username": "x"}))
    assert '<a href="#id_password">Password</a>: This field is required.' in html
    assert render("{% form_errors form %}", form=ExampleForm()).strip() == ""


def test_sort_header_keeps_the_query_and_turns_round() -> None:
    header = '{% sort_header "name" "Name" %}'
    assert 'aria-sort="none"' in render(header, query="?q=a%26b&page=3")
    assert 'href="?q=a%26b&amp;sort=name"' in render(header, query="?q=a%26b&page=3")
    up = render(header, query="?sort=name")
    assert 'aria-sort="ascending"' in up
    assert 'href="?sort=-name"' in up
    assert 'aria-sort="descending"' in render(header, sort="-name")


def test_pager_counts_and_links() -> None:
    page = Paginator(range(1204), 50).page(2)
    html = render("{% pager page %}", query="?q=rom&page=2", page=page)
    assert "51–100 of 1,204" in html
    assert 'href="?q=rom&amp;page=1"' in html
    assert 'href="?q=rom&amp;page=3"' in html
    assert '<input type="hidden" name="q" value="rom">' in html
    assert render("{% pager page %}", page=Paginator([], 50).page(1)).strip() == ""


def test_live_listing_fetches_without_a_history_entry() -> None:
    html = render('{% listing "users" live="sessions users" %}x{% endlisting %}', query="?q=1")
    assert 'hx-get="/users/?q=1"' in html
    assert (
        "live:sessions from:body throttle:1s, live:users from:body throttle:1s, live:poll from:body" in html
    )
    assert 'hx-push-url="false"' in html


def test_block_tags_leave_escaping_to_their_content() -> None:
    html = render('{% alert "warn" title %}{{ body }}{% endalert %}', title="<b>", body="<i>")
    assert "&lt;b&gt;" in html
    assert "&lt;i&gt;" in html


def test_theme_comes_from_the_cookie_and_nothing_else_gets_in() -> None:
    request = RequestFactory().get("/")
    request.COOKIES["hearth_theme"] = "dark"
    assert render("{% theme %}", request=request) == "dark"
    request.COOKIES["hearth_theme"] = '"><script>'
    assert render("{% theme %}", request=request) == "auto"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1536, "1.5 KB"),
        (200 * 1024**2, "200 MB"),
        (3 * 1024**5, "3,072 TB"),
        (None, "–"),
    ],
)
def test_bytes(value: int | None, shown: str) -> None:
    assert formats.bytes_(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (40, "40 s"),
        (3600, "1 h"),
        (timedelta(days=3, hours=4, minutes=5), "3 d 4 h"),
        (86460, "1 d 1 min"),
        (None, "–"),
    ],
)
def test_duration(value: int | timedelta | None, shown: str) -> None:
    assert formats.duration(value) == shown


@pytest.mark.parametrize(
    ("back", "shown"),
    [
        (timedelta(seconds=3), "now"),
        (timedelta(minutes=4), "4 min ago"),
        (timedelta(hours=2), "2 h ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(minutes=-30), "in 30 min"),
        (timedelta(days=100), "3 months ago"),
        (timedelta(days=-824), "in 27 months"),
    ],
)
def test_ago(back: timedelta, shown: str) -> None:
    assert f">{shown}</time>" in formats.ago(timezone.now() - back)


def test_jid_and_avatar_escape() -> None:
    assert "<script" not in formats.jid("<script>@example.org/<b>")
    assert "<b>" not in formats.avatar("<b>")
    assert ">RM<" in formats.avatar("Romeo Montague")


def test_highlight_marks_and_escapes() -> None:
    assert formats.highlight("<Romeo>", "rom") == "&lt;<mark>Rom</mark>eo&gt;"
    assert formats.highlight("<Romeo>", "") == "&lt;Romeo&gt;"


def test_dates_cannot_be_misread() -> None:
    moment = datetime(2026, 11, 2, 14, 39, tzinfo=UTC)
    assert ">2 Nov 2026, 14:39<" in formats.when(moment)
    assert "2 Nov 2026, 14:39" in formats.ago(moment)
