"""What the list and form pages share: page and size from the address, a service's refusal as form errors,
confirmations, choices of a filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.paginator import Page, Paginator
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from adminconsole.templatetags.hearth import PAGE_SIZES

DEFAULT_SIZE = 50
MAX_QUERY_CHARS = 200


def page_and_size(request: HttpRequest) -> tuple[int, int]:
    """`?page=` and `?size=`, made sensible."""
    size = _int(request.GET.get("size"), DEFAULT_SIZE)
    return max(_int(request.GET.get("page"), 1), 1), size if size in PAGE_SIZES else DEFAULT_SIZE


def cut(request: HttpRequest, rows: Any) -> Page:
    """The page of a sequence or query that the address asks for; the nearest one where it does not exist."""
    number, size = page_and_size(request)
    return Paginator(rows, size).get_page(number)


def counted(rows: Sequence[Any], *, total: int, number: int, size: int) -> Page:
    """A page whose rows were found by a service that counts by itself, in the form that {% pager %} reads."""
    page = Paginator(range(total), size).page(number)
    page.object_list = rows
    return page


def searched(request: HttpRequest) -> str:
    """What `?q=` looks for, as a database takes it: PostgreSQL no NUL, SQLite no thousand conditions."""
    return request.GET.get("q", "").replace("\0", "")[:MAX_QUERY_CHARS].strip()


def to_ids(texts: Iterable[str]) -> list[int]:
    """The texts that can be ids of rows."""
    return [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) < 19]


def choice(request: HttpRequest, name: str, allowed: Iterable[str], default: str = "") -> str:
    """A query parameter that must be one of these."""
    value = request.GET.get(name, default)
    return value if value in set(allowed) else default


def show_errors(form: Form, error: ValidationError, **renamed: str) -> None:
    """What a service refused, at the fields of the form; `renamed` is the service's name -> the form's."""
    if not hasattr(error, "error_dict"):
        form.add_error(None, error)
        return
    for name, errors in error.error_dict.items():
        field = renamed.get(name, name)
        form.add_error(field if field in form.fields else None, errors)


def confirm(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """A page that asks before something is destroyed; context as in partials/confirm.html."""
    status = 422 if context.get("confirm_error") else 200
    return render(request, "adminconsole/confirm.html", context, status=status)


def typed(request: HttpRequest, word: str) -> str:
    """Why a typed confirmation does not do; empty when it does."""
    given = request.POST.get("confirm", "").strip()
    return "" if given == word else _("Type “%(word)s” exactly to confirm.") % {"word": word}


def _int(text: str | None, default: int) -> int:
    try:
        return min(int(text or default), 10**9)
    except ValueError:
        return default
