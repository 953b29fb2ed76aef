"""The first page after set-up: services starting, the first users, how to connect a client."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path, reverse

from accounts.models import User
from adminconsole import connecting
from adminconsole.access import page
from adminconsole.views.health import not_ready


@page(permission="dashboard.view")
def welcome(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    context: dict[str, Any] = {
        "waiting": not_ready(),
        "user_create_url": reverse("user-create"),
        "group_create_url": reverse("group-create"),
        **connecting.facts(request, request.user),
    }
    return render(request, "setup/welcome.html", context)


urlpatterns = [path("welcome/", welcome, name="welcome")]
