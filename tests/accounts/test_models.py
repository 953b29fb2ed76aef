"""The tables: migrations forth and back, in step with the models."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import User


@pytest.mark.django_db
def test_models_and_migrations_agree():
    call_command("makemigrations", "accounts", check=True, dry_run=True, stdout=StringIO(), skip_checks=True)


@pytest.mark.django_db(transaction=True)
def test_migrations_run_back_and_forth():
    tables = set(connection.introspection.table_names())
    call_command("migrate", "accounts", "zero", verbosity=0, skip_checks=True)
    try:
        assert not [
            table for table in connection.introspection.table_names() if table.startswith("accounts_")
        ]
    finally:
        call_command("migrate", verbosity=0, skip_checks=True)
    assert set(connection.introspection.table_names()) == tables


@pytest.mark.django_db
def test_natural_key_is_the_jid(make_user):
    user = make_user("alice")
    assert User.objects.get_by_natural_key("alice") == user
    assert User.objects.get_by_natural_key("alice@example.org") == user
    with pytest.raises(User.DoesNotExist):
        User.objects.get_by_natural_key("alice@example.net")


@pytest.mark.django_db
def test_account_is_found_by_jid_however_it_is_written(make_user):
    user = make_user("alice")
    assert User.objects.by_jid("Alice@EXAMPLE.org/phone") == user
    assert User.objects.by_jid("example.org") is None
    assert User.objects.by_jid("a b@example.org") is None
    assert User.objects.by_username(" ALICE ") == user
    assert User.objects.by_username("a b") is None
