"""Column types compare alike on every database."""

import pytest
from django.db import connection

from accounts.models import Domain, Property


@pytest.mark.django_db
def test_text_is_compared_code_point_by_code_point():
    names = ["e", "E", "é", "e\u0301", "e ", "ｅ", "ß", "ss", "𝔢", "漢", "😀", "😁"]
    for name in names:
        Domain.objects.create(name=name)
    for name in names:
        assert [domain.name for domain in Domain.objects.filter(name=name)] == [name]
    found = Domain.objects.filter(name__in=names).values_list("name", flat=True)
    assert sorted(found) == sorted(names)


@pytest.mark.django_db
def test_the_longest_names_fit_and_longer_ones_are_refused_not_cut():
    Domain.objects.create(name="𝔢" * 255)
    assert Domain.objects.get().name == "𝔢" * 255
    if connection.vendor != "sqlite":  # which has no lengths
        from django.db import DatabaseError, transaction

        with pytest.raises(DatabaseError), transaction.atomic():
            Domain.objects.create(name="a" * 256)


@pytest.mark.django_db
def test_text_of_four_byte_characters_comes_back():
    value = {"text": "😀 漢字 \\ ' \" % %s \u2028 é", "number": 2**53, "list": [None, True]}
    Property.objects.create(name="a.b", value=value)
    assert Property.objects.get(name="a.b").value == value
