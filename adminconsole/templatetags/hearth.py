"""The template tags of the design system: `{% load hearth %}`. docs/design.md shows each with its call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import template
from django.core.paginator import Page
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, PasswordInput, RadioSelect
from django.template.context import Context
from django.template.loader_tags import BLOCK_CONTEXT_KEY
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from adminconsole.icons import ICONS

register = template.Library()

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "hearth_theme"
PAGE_SIZES = (25, 50, 100, 250)


# --- the page -------------------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def theme(context: Context) -> str:
    """auto, light or dark: the reader's choice, known to the server by a cookie so that no page flashes."""
    request = context.get("request")
    chosen = request.COOKIES.get(THEME_COOKIE, "auto") if request is not None else "auto"
    return chosen if chosen in THEMES else "auto"


@register.simple_tag(takes_context=True)
def repeat(context: Context, name: str) -> str:
    """Render a block of this page a second time, so that one `{% block title %}` serves both <title> and <h1>."""
    blocks = context.render_context.get(BLOCK_CONTEXT_KEY)
    block = blocks.get_block(name) if blocks is not None else None
    return block.render(context).strip() if block is not None else ""


@register.simple_tag
def icon(name: str, label: str = "", css: str = "") -> SafeString:
    """`{% icon "users" %}`: decoration, hidden from screen readers unless a label is given."""
    spoken = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html(
        '<svg class="icon{}" viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" '
        'stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" focusable="false" {}>{}</svg>',
        f" {css}" if css else "",
        spoken,
        mark_safe(ICONS[name]),
    )


@register.simple_tag
def brand(size: int = 28) -> SafeString:
    """The mark: a house with a fire in it."""
    return format_html(
        '<svg class="mark" viewBox="0 0 32 32" width="{0}" height="{0}" aria-hidden="true" focusable="false">'
        '<path class="mark-house" d="M14.3 2.6a3 3 0 0 1 3.4 0l11 7.7A3 3 0 0 1 30 12.8V26a4 4 0 0 1-4 4H6a4 4 0 0 1-4-4V12.8a3 3 0 0 1 1.3-2.5z"/>'
        '<path class="mark-flame" d="M15.1 9.2c-.3 4.7-5.8 6.4-5.8 11.7 0 3.7 2.8 6.3 6.7 6.3s6.7-2.6 6.7-6.3c0-3.3-1.7-5.8-3.3-7.4-.2 1.4-.7 2.4-1.6 3.1.2-2.9-.8-5.6-2.7-7.4z"/>'
        '<path class="mark-ember" d="M16.2 18.5c-.2 2-2.6 2.8-2.6 5 0 1.5 1 2.5 2.5 2.5s2.5-1 2.5-2.5c0-2-1.2-3.6-2.4-5z"/></svg>',
        size,
    )


# --- forms ----------------------------------------------------------------------------------------


@register.inclusion_tag("partials/field.html")
def field(
    bound: BoundField,
    *,
    unit: str = "",
    help: str = "",
    label: str = "",
    meter: bool = False,
    generate: bool = False,
    cards: bool = False,
    placeholder: str = "",
    autofocus: bool = False,
    autocomplete: str = "",
    width: str = "",
    optional: bool = True,
) -> dict[str, Any]:
    """One form field whole: label, control, unit, help, errors, and the ARIA that ties them together."""
    widget = bound.field.widget
    hint = help or bound.help_text
    described = " ".join(
        part
        for part in (
            f"{bound.auto_id}_hint" if hint else "",
            f"{bound.auto_id}_error" if bound.errors else "",
        )
        if part
    )
    attrs: dict[str, Any] = {
        "aria-describedby": described or None,
        "aria-invalid": "true" if bound.errors else None,
    }
    attrs |= {
        "placeholder": placeholder or None,
        "autocomplete": autocomplete or None,
        "autofocus": autofocus or None,
    }
    kind = _kind(widget)
    if meter:
        attrs["data-meter"] = f"{bound.auto_id}_meter"
    group = kind in ("radio", "checks")
    return {
        "bound": bound,
        "kind": kind,
        "control": "" if group else bound.as_widget(attrs={k: v for k, v in attrs.items() if v}),
        "options": _options(bound) if group else [],
        "described": described,
        "label": label or bound.label,
        "hint": hint,
        "unit": unit or getattr(bound.field, "unit", ""),
        "meter": meter,
        "generate": generate,
        "cards": cards or hasattr(bound.field, "choice_help"),
        "width": width,
        "mark_optional": optional and not bound.field.required and kind not in ("check", "checks", "radio"),
    }


def _kind(widget: Any) -> str:
    if isinstance(widget, CheckboxSelectMultiple):
        return "checks"
    if isinstance(widget, RadioSelect):
        return "radio"
    if isinstance(widget, CheckboxInput):
        return "check"
    return "password" if isinstance(widget, PasswordInput) else "input"


def _options(bound: BoundField) -> list[dict[str, Any]]:
    """The choices of a radio or checkbox group with what `field.choice_help` (value -> text) says about each."""
    helps = {str(k): v for k, v in getattr(bound.field, "choice_help", {}).items()}
    return [
        {
            "input": sub.tag(),
            "label": sub.choice_label,
            "id": sub.id_for_label,
            "help": helps.get(str(sub.data["value"]), ""),
        }
        for sub in bound.subwidgets
    ]


@register.inclusion_tag("partials/fields.html")
def fields(form: Any) -> dict[str, Any]:
    """Every field of a form, hidden ones included, after the summary of its errors."""
    return {"form": form}


@register.inclusion_tag("partials/errors.html")
def form_errors(form: Any) -> dict[str, Any]:
    """The summary above a form: what is wrong, each line leading to its field."""
    lines = [
        {"label": bound.label, "id": bound.id_for_label or bound.auto_id, "text": error}
        for bound in form
        if not bound.is_hidden
        for error in bound.errors
    ]
    hidden = [error for bound in form.hidden_fields() for error in bound.errors]
    return {"lines": lines, "general": [*form.non_field_errors(), *hidden]}


@register.simple_block_tag
def section(content: str, title: str, text: str = "") -> SafeString:
    """`{% section title text %}fields{% endsection %}`: a titled part of a form; beside its title on wide screens."""
    id_ = "s-" + hashlib.md5(str(title).encode(), usedforsecurity=False).hexdigest()[:8]
    return format_html(
        '<div class="section" role="group" aria-labelledby="{0}"><div class="section-head"><h2 id="{0}">{1}</h2>{2}</div>'
        '<div class="section-body">{3}</div></div>',
        id_,
        title,
        format_html("<p>{}</p>", text) if text else "",
        content,
    )


# --- tables ---------------------------------------------------------------------------------------


def _query(context: Context, **changes: Any) -> str:
    """This page's query string with some parameters changed (None removes one)."""
    request = context.get("request")
    query = request.GET.copy() if request is not None else {}
    pairs = [
        (k, v)
        for k, values in getattr(query, "lists", dict(query).items)()
        for v in values
        if k not in changes
    ]
    pairs += [(k, v) for k, v in changes.items() if v is not None and v != ""]
    return "?" + urlencode(pairs)


@register.simple_tag(takes_context=True)
def query(context: Context, **changes: Any) -> str:
    """`{% query status="locked" page=None %}`: a link to this page with these parameters changed."""
    return _query(context, **changes)


@register.simple_block_tag(takes_context=True)
def listing(context: Context, content: str, id: str, live: str = "") -> SafeString:
    """The part of a page that search, sorting, paging and live events replace.

    `live="sessions"`: fetched again when the server says that sessions changed (or every 15 s without WebSocket).
    """
    request = context.get("request")
    attrs = format_html(' hx-target="#{0}" hx-select="#{0}" hx-swap="outerHTML" hx-push-url="true"', id)
    if live and request is not None:
        triggers = ", ".join(f"live:{topic} from:body throttle:1s" for topic in live.split())
        attrs += format_html(
            ' hx-get="{}" hx-trigger="{}, live:poll from:body" hx-sync="this:replace" data-quiet',
            request.get_full_path(),
            triggers,
        )
    return format_html('<div class="listing" id="{}" data-listing{}>{}</div>', id, attrs, content)


@register.simple_tag(takes_context=True)
def sort_header(context: Context, key: str, label: str, css: str = "", param: str = "sort") -> SafeString:
    """A `<th>` that sorts by `key`: first click up, second down. The order now is context `sort`, else `?sort=`."""
    request = context.get("request")
    now = str(context.get("sort") or (request.GET.get(param, "") if request is not None else ""))
    state = "ascending" if now == key else "descending" if now == f"-{key}" else "none"
    url = _query(context, **{param: f"-{key}" if state == "ascending" else key, "page": None})
    arrow = icon({"ascending": "up", "descending": "down", "none": "sort"}[state])
    return format_html(
        '<th scope="col" aria-sort="{}"{}><a class="sort" href="{}" hx-get="{}">{}{}</a></th>',
        state,
        format_html(' class="{}"', css) if css else "",
        url,
        url,
        label,
        arrow,
    )


@register.inclusion_tag("partials/pager.html", takes_context=True)
def pager(context: Context, page: Page, noun: str = "", sizes: Sequence[int] = PAGE_SIZES) -> dict[str, Any]:
    """`{% pager page %}` under a table: 1-50 of 1,204, previous, next, rows per page (`?page=`, `?size=`)."""
    request = context.get("request")
    kept = request.GET.copy() if request is not None else {}
    hidden = (
        [(k, v) for k, values in getattr(kept, "lists", dict)() for v in values if k not in ("page", "size")]
        if kept
        else []
    )
    size = page.paginator.per_page
    return {
        "page": page,
        "count": page.paginator.count,
        "noun": noun,
        "size": size,
        "sizes": sorted({*sizes, size}),
        "hidden": hidden,
        "path": request.path if request is not None else "",
        "previous": _query(context, page=page.previous_page_number()) if page.has_previous() else "",
        "next": _query(context, page=page.next_page_number()) if page.has_next() else "",
    }


# --- small parts ----------------------------------------------------------------------------------


@register.simple_tag
def badge(tone: str, text: Any, *, dot: bool = False, icon_name: str = "", title: str = "") -> SafeString:
    """`{% badge "ok" _("Online") dot=True %}`; tones: ok warn bad accent info neutral."""
    mark = mark_safe('<i class="dot"></i>') if dot else icon(icon_name) if icon_name else ""
    hover = format_html(' title="{}"', title) if title else ""
    return format_html('<span class="badge {}"{}>{}{}</span>', tone, hover, mark, text)


@register.simple_block_tag
def emptystate(content: str, icon_name: str, title: str, text: str = "") -> SafeString:
    """`{% emptystate "users" title text %}an action{% endemptystate %}` in place of a table without rows."""
    return format_html(
        '<div class="empty"><span class="empty-icon">{}</span><h2>{}</h2>{}<div class="empty-action">{}</div></div>',
        icon(icon_name),
        title,
        format_html("<p>{}</p>", text) if text else "",
        content,
    )


@register.simple_block_tag
def alert(content: str, tone: str, title: str = "") -> SafeString:
    """`{% alert "warn" title %}text{% endalert %}`; tones: info ok warn bad."""
    names = {"info": "info", "ok": "success", "warn": "warning", "bad": "error"}
    head = format_html("<strong>{}</strong>", title) if title else ""
    return format_html(
        '<div class="alert {}" role="{}">{}<div class="alert-body">{}{}</div></div>',
        tone,
        "alert" if tone == "bad" else "note",
        icon(names[tone]),
        head,
        content,
    )


@register.simple_tag
def copy(text: Any, label: str = "") -> SafeString:
    """A button that puts `text` on the clipboard (shown only where scripts run)."""
    spoken = label or _("Copy")
    return format_html(
        '<button type="button" class="iconbtn js-only" data-copy="{}" aria-label="{}" title="{}">{}</button>',
        text,
        spoken,
        spoken,
        icon("copy"),
    )


@register.simple_block_tag
def codeblock(content: str, label: str = "") -> SafeString:
    """`{% codeblock %}text{% endcodeblock %}`: text as it is, to be copied."""
    text = content.strip("\n")
    return format_html(
        '<figure class="code">{}<pre tabindex="0"><code>{}</code></pre>'
        '<button type="button" class="iconbtn js-only" data-copy-from="pre" aria-label="{}" title="{}">{}</button></figure>',
        format_html("<figcaption>{}</figcaption>", label) if label else "",
        text,
        _("Copy"),
        _("Copy"),
        icon("copy"),
    )


@register.simple_tag
def progress(value: float, maximum: float = 100, label: str = "") -> SafeString:
    """A bar of `value` out of `maximum`."""
    return format_html(
        '<progress class="progress" value="{}" max="{}" aria-label="{}">{}%</progress>',
        value,
        maximum,
        label or _("Progress"),
        round(100 * value / maximum) if maximum else 0,
    )


@register.inclusion_tag("partials/tile.html")
def tile(
    label: str,
    value: Any,
    *,
    hint: str = "",
    icon_name: str = "",
    url: str = "",
    tone: str = "",
    spark: Iterable[float] = (),
    id: str = "",
) -> dict[str, Any]:
    """`{% tile _("Online now") 287 hint=... icon_name="users" url=... tone="bad" spark=values %}` within `div.tiles`."""
    shown = number(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return {
        "label": label, "value": shown, "hint": hint, "icon_name": icon_name, "url": url, "tone": tone, "id": id,
        "spark": sparkline(spark),
    }  # fmt: skip


@register.simple_tag
def sparkline(values: Iterable[float]) -> SafeString | str:
    """A small line of numbers without axes, 100 by 34; nothing for fewer than two."""
    points = [float(v) for v in values or ()]
    if len(points) < 2:
        return ""
    top = max(points) or 1.0
    steps = [
        (round(100 * i / (len(points) - 1), 2), round(31 - 28 * p / top, 2)) for i, p in enumerate(points)
    ]
    line = " ".join(f"{x:g},{y:g}" for x, y in steps)
    return format_html(
        '<svg class="spark" viewBox="0 0 100 34" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        '<polygon points="0,34 {0} 100,34"/><polyline points="{0}" vector-effect="non-scaling-stroke"/></svg>',
        line,
    )


# --- filters --------------------------------------------------------------------------------------


@register.filter
def number(value: Any) -> str:
    """1204 -> 1,204 in the reader's language."""
    if value is None or value == "":
        return "–"
    return number_format(value, use_l10n=True, force_grouping=True)


@register.filter(name="bytes")
def bytes_(value: Any) -> str:
    """Bytes as people read them, powers of 1024: 1.5 MB."""
    if value is None or value == "":
        return "–"
    size = float(value)
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if abs(size) < 1024 or unit == "TB":
            break
        size /= 1024
    return f"{number_format(size, 0 if unit == 'B' or size >= 100 else 1)} {unit}"


@register.filter
def duration(value: Any) -> str:
    """A timedelta or seconds in its two largest units: 3 d 4 h, 12 min, 40 s."""
    if value is None or value == "":
        return "–"
    seconds = int(value.total_seconds() if isinstance(value, timedelta) else value)
    if seconds < 60:
        return _("%(n)s s") % {"n": max(seconds, 0)}
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    parts = [(days, _("%(n)s d")), (hours, _("%(n)s h")), (rest // 60, _("%(n)s min"))]
    shown = [text % {"n": n} for n, text in parts if n]
    return " ".join(shown[:2])


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """`{{ dt|ago }}`: how long since (or until) an instant, the exact time on hover."""
    if moment is None:
        return _("never")
    seconds = (timezone.now() - moment).total_seconds()
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="seconds"),
        date_format(local, "DATETIME_FORMAT"),
        _distance(seconds, local),
    )


def _distance(seconds: float, local: datetime) -> str:
    size = abs(seconds)
    if size < 45:
        return pgettext("time", "now")
    if size >= 30 * 86400:
        return date_format(local, "DATE_FORMAT")
    if size < 3600:
        count = max(1, round(size / 60))
        text = (
            ngettext("%(n)s min ago", "%(n)s min ago", count)
            if seconds > 0
            else ngettext("in %(n)s min", "in %(n)s min", count)
        )
    elif size < 86400:
        count = round(size / 3600)
        text = (
            ngettext("%(n)s h ago", "%(n)s h ago", count)
            if seconds > 0
            else ngettext("in %(n)s h", "in %(n)s h", count)
        )
    else:
        count = round(size / 86400)
        text = (
            ngettext("%(n)s day ago", "%(n)s days ago", count)
            if seconds > 0
            else ngettext("in %(n)s day", "in %(n)s days", count)
        )
    return text % {"n": count}


@register.filter
def when(moment: datetime | None) -> SafeString | str:
    """An instant as date and time, with <time>."""
    if moment is None:
        return "–"
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}">{}</time>', moment.isoformat(), date_format(local, "SHORT_DATETIME_FORMAT")
    )


@register.filter
def jid(address: Any) -> SafeString:
    """An address with its parts told apart: local strong, domain and resource quiet. Kept left to right."""
    text = str(address)
    bare, slash, resource = text.partition("/")
    local, at, domain = bare.rpartition("@")
    tail = format_html('<span class="jid-res">/{}</span>', resource) if slash else ""
    head = format_html('<span class="jid-local">{}</span>', local) if at else ""
    return format_html(
        '<bdi class="jid" dir="ltr">{}<span class="jid-domain">{}{}</span>{}</bdi>',
        head,
        "@" if at else "",
        domain,
        tail,
    )


@register.filter
def avatar(name: Any) -> SafeString:
    """A circle with initials; its colour follows the name."""
    text = str(name).partition("@")[0].strip() or "?"
    words = [w for w in text.replace(".", " ").replace("_", " ").replace("-", " ").split() if w]
    initials = (words[0][0] + words[-1][0] if len(words) > 1 else text[:1]).upper()
    hue = hashlib.md5(text.casefold().encode(), usedforsecurity=False).digest()[0] % 8
    return format_html('<span class="avatar hue-{}" aria-hidden="true">{}</span>', hue, initials)


@register.filter
def tone(level_tag: str) -> str:
    """The tone of a Django message level."""
    return {"success": "ok", "warning": "warn", "error": "bad"}.get(level_tag, "info")


@register.filter
def tone_icon(tone_: str) -> str:
    """The icon that goes with a tone."""
    return {"ok": "success", "warn": "warning", "bad": "error"}.get(tone_, "info")


@register.filter
def yesno_badge(value: Any) -> SafeString:
    """True -> green Yes, False -> quiet No."""
    return badge("ok", _("Yes")) if value else badge("neutral", _("No"))


@register.filter
def highlight(text: Any, needle: str) -> SafeString:
    """`{{ user.name|highlight:q }}`: the found part marked."""
    plain, low = str(text), str(needle or "").casefold()
    at = plain.casefold().find(low) if low else -1
    if at < 0 or len(plain.casefold()) != len(plain):
        return conditional_escape(plain)
    end = at + len(low)
    return format_html_join(
        "", "{}{}{}", [(plain[:at], format_html("<mark>{}</mark>", plain[at:end]), plain[end:])]
    )
