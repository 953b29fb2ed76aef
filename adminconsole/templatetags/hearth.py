"""The template tags of the design system: `{% load hearth %}`. docs/design.md shows each with its call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.core.paginator import Page
from django.forms import (
    BoundField,
    CheckboxInput,
    CheckboxSelectMultiple,
    PasswordInput,
    RadioSelect,
    Textarea,
)
from django.template.context import Context
from django.template.loader_tags import BLOCK_CONTEXT_KEY
from django.utils import translation
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from adminconsole import formats
from adminconsole.icons import ICONS, MARK

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


@register.simple_tag
def html_lang() -> str:
    """The language of the page as BCP 47 writes it: zh-Hans."""
    return translation.to_locale(translation.get_language() or settings.LANGUAGE_CODE).replace("_", "-")


@register.simple_tag(takes_context=True)
def repeat(context: Context, name: str) -> str:
    """Render a block of this page again, so that one `{% block title %}` serves both <title> and <h1>."""
    blocks = context.render_context.get(BLOCK_CONTEXT_KEY)
    block = blocks.get_block(name) if blocks is not None else None
    # Rendered, so escaped already; strip() would lose the mark of that.
    return mark_safe(block.render(context).strip()) if block is not None else ""  # noqa: S308


@register.simple_tag
def icon(name: str, label: str = "", css: str = "") -> SafeString:
    """`{% icon "users" %}`: decoration, hidden from screen readers unless a label is given."""
    spoken = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html(
        '<svg class="icon{}" viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" '
        'stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" focusable="false" {}>{}</svg>',
        f" {css}" if css else "",
        spoken,
        mark_safe(ICONS[name]),  # noqa: S308  (our own drawings)
    )


@register.simple_tag
def brand(size: int = 28) -> SafeString:
    """The mark: a house with a fire in it."""
    return format_html(MARK, size)


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
    if isinstance(widget, Textarea) and widget.attrs.get("rows") == "10":  # Django's default, too tall for us
        attrs["rows"] = 4
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
    """The choices of a group with what `field.choice_help` (value -> text) says about each."""
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
    """`{% section title text %}fields{% endsection %}`: a part of a form, beside its title where wide."""
    id_ = "s-" + hashlib.md5(str(title).encode(), usedforsecurity=False).hexdigest()[:8]
    return format_html(
        '<div class="section" role="group" aria-labelledby="{0}">'
        '<div class="section-head"><h2 id="{0}">{1}</h2>{2}</div><div class="section-body">{3}</div></div>',
        id_,
        title,
        format_html("<p>{}</p>", text) if text else "",
        content,
    )


# --- tables ---------------------------------------------------------------------------------------


def _pairs(context: Context, *without: str) -> list[tuple[str, str]]:
    """This page's query parameters in order, some left out."""
    request = context.get("request")
    if request is None:
        return []
    return [(key, value) for key, values in request.GET.lists() for value in values if key not in without]


def _query(context: Context, **changes: Any) -> str:
    """This page's query string with some parameters changed (None removes one)."""
    changed = [(key, value) for key, value in changes.items() if value is not None and value != ""]
    return "?" + urlencode([*_pairs(context, *changes), *changed])


@register.simple_tag(takes_context=True)
def query(context: Context, **changes: Any) -> str:
    """`{% query status="locked" page=None %}`: a link to this page with these parameters changed."""
    return _query(context, **changes)


@register.simple_block_tag(takes_context=True)
def listing(context: Context, content: str, id: str, live: str = "") -> SafeString:
    """The part of a page that search, sorting, paging and live events replace.

    `live="sessions"`: fetched again when sessions change (every 15 s where there is no WebSocket).
    """
    request = context.get("request")
    watcher: SafeString | str = ""
    if live and request is not None:
        events = ", ".join(f"live:{topic} from:body throttle:1s" for topic in live.split())
        watcher = format_html(
            '<span hidden data-quiet hx-get="{}" hx-trigger="{}, live:poll from:body" hx-push-url="false"'
            ' hx-sync="this:replace"></span>',
            request.get_full_path(),
            events,
        )
    return format_html(
        '<div class="listing" id="{0}" data-listing hx-target="#{0}" hx-select="#{0}" hx-swap="outerHTML"'
        ' hx-push-url="true">{1}{2}</div>',
        id,
        watcher,
        content,
    )


@register.simple_tag(takes_context=True)
def sort_header(context: Context, key: str, label: str, css: str = "", param: str = "sort") -> SafeString:
    """A `<th>` that sorts by `key`, first up, then down. The order now is context `sort`, else `?sort=`."""
    request = context.get("request")
    now = str(context.get("sort") or (request.GET.get(param, "") if request is not None else ""))
    state = "ascending" if now == key else "descending" if now == f"-{key}" else "none"
    url = _query(context, **{param: f"-{key}" if state == "ascending" else key, "page": None})
    arrow = icon({"ascending": "up", "descending": "down", "none": "sort"}[state])
    return format_html(
        '<th scope="col" aria-sort="{}"{}><a class="sort" id="sort-{}" href="{}" hx-get="{}">{}{}</a></th>',
        state,
        format_html(' class="{}"', css) if css else "",
        key,
        url,
        url,
        label,
        arrow,
    )


@register.inclusion_tag("partials/pager.html", takes_context=True)
def pager(context: Context, page: Page, noun: str = "", sizes: Sequence[int] = PAGE_SIZES) -> dict[str, Any]:
    """`{% pager page %}` under a table: 1-50 of 1,204, previous, next, rows per page (`?page=`, `?size=`)."""
    request = context.get("request")
    size = page.paginator.per_page
    return {
        "page": page,
        "count": page.paginator.count,
        "noun": noun,
        "size": size,
        "sizes": sorted({*sizes, size}),
        "hidden": _pairs(context, "page", "size"),
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
        '<div class="empty"><span class="empty-icon">{}</span><h2>{}</h2>{}'
        '<div class="empty-action">{}</div></div>',
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
        '<button type="button" class="iconbtn js-only" data-copy-from="pre" '
        'aria-label="{}" title="{}">{}</button></figure>',
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
    """`{% tile _("Online now") 287 hint=... icon_name="users" url=... tone="bad" spark=values %}`."""
    shown = formats.number(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return {
        "label": label,
        "value": shown,
        "hint": hint,
        "icon_name": icon_name,
        "url": url,
        "tone": tone,
        "id": id,
        "spark": sparkline(spark),
    }


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
        '<svg class="spark" viewBox="0 0 100 34" preserveAspectRatio="none" aria-hidden="true">'
        '<polygon points="0,34 {0} 100,34"/>'
        '<polyline points="{0}" vector-effect="non-scaling-stroke"/></svg>',
        line,
    )


# --- filters --------------------------------------------------------------------------------------

register.filter("number", formats.number)
register.filter("bytes", formats.bytes_)
register.filter("duration", formats.duration)
register.filter("ago", formats.ago)
register.filter("when", formats.when)
register.filter("jid", formats.jid)
register.filter("avatar", formats.avatar)
register.filter("tone", formats.tone)
register.filter("tone_icon", formats.tone_icon)
register.filter("highlight", formats.highlight)


@register.filter
def yesno_badge(value: Any) -> SafeString:
    """True -> green Yes, False -> quiet No."""
    return badge("ok", _("Yes")) if value else badge("neutral", _("No"))
