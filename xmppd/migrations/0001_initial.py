"""Rosters, offline messages, vCards, private data."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import accounts.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="RosterState",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="roster_state",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("version", models.BigIntegerField()),
                ("log_start", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="VCard",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="vcard",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("xml", models.TextField(verbose_name="the complete <vCard/>")),
                ("updated", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "shown",
                    models.JSONField(
                        default=dict, verbose_name="the searched values as they were written, by column"
                    ),
                ),
                (
                    "full_name",
                    models.CharField(
                        blank=True, db_index=True, default="", max_length=200, verbose_name="FN"
                    ),
                ),
                (
                    "nickname",
                    models.CharField(
                        blank=True, db_index=True, default="", max_length=200, verbose_name="NICKNAME"
                    ),
                ),
                (
                    "family",
                    models.CharField(
                        blank=True, db_index=True, default="", max_length=200, verbose_name="N/FAMILY"
                    ),
                ),
                (
                    "given",
                    models.CharField(
                        blank=True, db_index=True, default="", max_length=200, verbose_name="N/GIVEN"
                    ),
                ),
                (
                    "email",
                    models.CharField(
                        blank=True, db_index=True, default="", max_length=200, verbose_name="EMAIL/USERID"
                    ),
                ),
                (
                    "locality",
                    models.CharField(
                        blank=True, db_index=True, default="", max_length=200, verbose_name="ADR/LOCALITY"
                    ),
                ),
                (
                    "organisation",
                    models.CharField(
                        blank=True, db_index=True, default="", max_length=200, verbose_name="ORG/ORGNAME"
                    ),
                ),
            ],
            options={
                "verbose_name": "vCard",
            },
        ),
        migrations.CreateModel(
            name="OfflineMessage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("stanza", models.TextField()),
                ("size", models.PositiveIntegerField(verbose_name="bytes of the stanza in UTF-8")),
                ("created", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                (
                    "sender",
                    accounts.fields.ExactCharField(
                        blank=True,
                        default="",
                        max_length=512,
                        verbose_name="full JID of the sender, cut to the column",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="offline_messages",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="PrivateData",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "ns",
                    accounts.fields.ExactCharField(max_length=512, verbose_name="namespace of the element"),
                ),
                (
                    "name",
                    accounts.fields.ExactCharField(max_length=128, verbose_name="local name of the element"),
                ),
                ("xml", models.TextField(verbose_name="the complete element")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="private_data",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "private data",
                "verbose_name_plural": "private data",
                "constraints": [
                    models.UniqueConstraint(fields=("user", "ns", "name"), name="private_data_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="RosterItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "jid",
                    accounts.fields.ExactCharField(max_length=512, verbose_name="bare JID of the contact"),
                ),
                ("name", models.TextField(blank=True, default="")),
                (
                    "subscription",
                    models.CharField(
                        choices=[("none", "None"), ("to", "To"), ("from", "From"), ("both", "Both")],
                        default="none",
                        max_length=4,
                    ),
                ),
                (
                    "ask",
                    models.BooleanField(default=False, verbose_name="a subscribe of ours awaits an answer"),
                ),
                ("approved", models.BooleanField(default=False, verbose_name="pre-approved, RFC 6121 3.4")),
                ("groups", models.JSONField(default=list, verbose_name="list of group names")),
                ("version", models.BigIntegerField(verbose_name="roster version of the last change")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="roster_items",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["jid"], name="roster_item_jid"),
                    models.Index(fields=["user", "version"], name="roster_item_version"),
                ],
                "constraints": [models.UniqueConstraint(fields=("user", "jid"), name="roster_item_unique")],
            },
        ),
        migrations.CreateModel(
            name="RosterTombstone",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("jid", accounts.fields.ExactCharField(max_length=512)),
                ("version", models.BigIntegerField()),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="roster_tombstones",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["user", "version"], name="roster_tombstone_version")],
                "constraints": [
                    models.UniqueConstraint(fields=("user", "jid"), name="roster_tombstone_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="SubscriptionRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("jid", accounts.fields.ExactCharField(max_length=512, verbose_name="bare JID of who asks")),
                ("stanza", models.TextField(verbose_name="the complete <presence/>")),
                ("created", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="subscription_requests",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["jid"], name="subscription_request_jid")],
                "constraints": [
                    models.UniqueConstraint(fields=("user", "jid"), name="subscription_request_unique")
                ],
            },
        ),
    ]
