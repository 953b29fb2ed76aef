"""The first set-up: once, whole, repeatable after a failure, and never again."""

import tomllib
from dataclasses import replace

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError

from accounts import credentials, registry, services
from accounts.models import AuditEntry, Domain, User
from xmppd import bootstrap
from xmppd.bus.messages import SetupFinished
from xmppd.services import certificates, db, properties, setup
from xmppd.services.setup import SetupAnswers, SetupConflict

pytestmark = pytest.mark.django_db(transaction=True)

ANSWERS = SetupAnswers(
    domain="Example.ORG",
    hostname="chat.example.org",
    admin_username="Root",
    admin_password="correct horse",
    admin_email="root@mail.example",
    language="zh-hans",
    console_localhost_only=True,
    registration_open=True,
    database_url=settings.CONFIG.database_url,
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A fresh HEARTH_HOME that is not set up."""
    monkeypatch.setenv("HEARTH_HOME", str(tmp_path))
    monkeypatch.setattr(setup, "_is_set_up", False)
    before, settings.CONFIG = settings.CONFIG, replace(settings.CONFIG, home=tmp_path)
    yield tmp_path
    settings.CONFIG = before


def toml(home):
    return tomllib.loads((home / "hearth.toml").read_text())


def test_answers_become_a_server(home, actor, heard):
    assert not setup.is_set_up()
    bootstrap.setup_token(settings.CONFIG)
    owner = setup.finish(ANSWERS, actor)
    assert owner.jid == "root@example.org"
    assert owner.role == "owner"
    assert owner.email == "root@mail.example"
    assert credentials.check_password(owner.password, "correct horse")
    assert Domain.objects.get().is_primary
    assert properties.get("console.language") == "zh-hans"
    assert properties.get("console.localhost_only") is True
    assert properties.get("registration.open") is True
    assert toml(home) == {
        "set_up": True,
        "database_url": ANSWERS.database_url,
        "hostname": "chat.example.org",
    }
    assert certificates.read_facts(settings.CONFIG.certificate_path).covers("conference.example.org")
    assert heard[-1] == SetupFinished()
    assert setup.is_set_up()
    assert settings.CONFIG.is_set_up
    assert not settings.CONFIG.setup_token_path.exists()
    assert AuditEntry.objects.filter(action="setup-finished").exists()


@pytest.mark.parametrize("domain", ["localhost", "127.0.0.1", "[::1]", "192.168.1.10"])
def test_address_of_the_machine_is_a_domain(actor, domain):
    owner = setup.finish(replace(ANSWERS, domain=domain, hostname=""), actor)
    assert owner.jid == f"root@{domain}"
    assert settings.CONFIG.hostname == domain
    assert certificates.read_facts(settings.CONFIG.certificate_path).covers(domain.strip("[]"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("domain", "not a domain"),
        ("hostname", "not a host"),
        ("admin_username", "a b"),
        ("admin_password", "short"),
        ("admin_password", "rootroot"),
        ("admin_email", "nowhere"),
        ("language", "tlh"),
    ],
)
def test_wrong_answer_is_named_and_nothing_done(home, actor, field, value):
    answers = replace(ANSWERS, **{"admin_username": "rootroot", field: value})
    with pytest.raises(ValidationError) as error:
        setup.finish(answers, actor)
    assert list(error.value.error_dict) == [field]
    assert not Domain.objects.exists()
    assert not (home / "hearth.toml").exists()


def test_second_finish_is_refused(actor):
    setup.finish(ANSWERS, actor)
    with pytest.raises(SetupConflict):
        setup.finish(replace(ANSWERS, admin_username="mallory"), actor)
    assert User.objects.count() == 1


def test_two_cannot_finish_at_once(home, actor):
    with db.file_lock(home / "setup.lock", wait=False), pytest.raises(SetupConflict):
        setup.finish(ANSWERS, actor)
    with setup._lock, pytest.raises(SetupConflict):
        setup.finish(ANSWERS, actor)
    assert not User.objects.exists()
    setup.finish(ANSWERS, actor)


def test_failure_in_the_middle_can_be_repeated(home, actor, monkeypatch):
    def full(*args):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(certificates, "install_self_signed", full)
        with pytest.raises(OSError, match="no space"):
            setup.finish(ANSWERS, actor)
    assert not setup.is_set_up()
    assert setup.finish(ANSWERS, actor).jid == "root@example.org"


def test_lost_file_does_not_bring_the_wizard_back(home, actor, monkeypatch):
    setup.finish(ANSWERS, actor)
    (home / "hearth.toml").unlink()
    settings.CONFIG = replace(settings.CONFIG, is_set_up=False)
    monkeypatch.setattr(setup, "_is_set_up", False)
    assert setup.is_set_up()


def test_missing_database_does_not_bring_the_wizard_back(actor, monkeypatch):
    setup.finish(ANSWERS, actor)
    User.objects.all().delete()
    Domain.objects.all().delete()
    monkeypatch.setattr(setup, "_is_set_up", False)
    assert setup.is_set_up()


def test_set_up_by_another_process_is_noticed(home):
    assert not setup.is_set_up()
    (home / "hearth.toml").write_text('set_up = true\nhostname = "chat.example.org"\n')
    assert setup.is_set_up()
    assert settings.CONFIG.hostname == "chat.example.org"


@pytest.fixture
def used_database(actor):
    """A database that was set up while hearth.toml is lost, as seen after the lock was taken."""
    domain = services.create_domain(name="example.org", is_primary=True, actor=actor)
    return services.create_user(
        username="root", password="correct horse", role="owner", domain=domain, actor=actor
    )


def test_owner_may_connect_a_database_that_was_set_up_before(home, actor, used_database):
    users = User.objects.count()
    assert setup._finish(setup.check(ANSWERS), actor) == used_database
    assert User.objects.count() == users
    assert toml(home)["set_up"]


@pytest.mark.parametrize(
    "changed",
    [{"admin_password": "wrong horse"}, {"admin_username": "mallory"}, {"domain": "example.net"}],
)
def test_nobody_else_may(home, actor, used_database, changed):
    with pytest.raises(SetupConflict):
        setup._finish(setup.check(replace(ANSWERS, **changed)), actor)
    assert not (home / "hearth.toml").exists()


def test_certificate_in_place_is_kept(actor):
    certificates.install_self_signed(settings.CONFIG, "mine.example")
    setup.finish(ANSWERS, actor)
    assert certificates.read_facts(settings.CONFIG.certificate_path).covers("mine.example")


def test_answers_never_show_the_password():
    assert "correct horse" not in repr(ANSWERS)
    assert "secret" not in repr(replace(ANSWERS, database_url="postgresql://u:secret@h/d"))


# --- unattended ---


def test_environment_gives_the_answers(tmp_path):
    (tmp_path / "password").write_text("correct horse\n")
    answers = setup.from_environment(
        {
            "HEARTH_DOMAIN": "example.org",
            "HEARTH_HOSTNAME": "chat.example.org",
            "HEARTH_ADMIN_USER": "root",
            "HEARTH_ADMIN_PASSWORD_FILE": str(tmp_path / "password"),
            "DATABASE_URL": "postgresql://h/d",
        }
    )
    assert answers == SetupAnswers(
        domain="example.org",
        hostname="chat.example.org",
        admin_username="root",
        admin_password="correct horse",
        database_url="postgresql://h/d",
    )


@pytest.mark.parametrize(
    "environ", [{}, {"HEARTH_DOMAIN": "example.org"}, {"HEARTH_ADMIN_PASSWORD": "x", "HEARTH_DOMAIN": ""}]
)
def test_environment_without_domain_or_password_gives_none(environ):
    assert setup.from_environment(environ) is None


def test_unreadable_password_file_is_named(tmp_path):
    with pytest.raises(ValidationError, match="missing"):
        setup.from_environment(
            {"HEARTH_DOMAIN": "x", "HEARTH_ADMIN_PASSWORD_FILE": str(tmp_path / "missing")}
        )


def test_settings_are_known_to_the_registry():
    assert {"console.language", "console.localhost_only", "registration.open"} <= set(registry._registry)
