"""SCRAM: RFC 5802, RFC 7677."""

import base64
import hashlib
import hmac

import pytest
import scramp
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppd.protocol.errors import SASLError
from xmppd.protocol.sasl import create
from xmppd.protocol.sasl.base import Challenge, Done, NeedKeys
from xmppd.protocol.sasl.scram import (
    SALT_BYTES,
    Scram,
    derive_keys,
    downgrade_protection,
    fake_keys,
    keys_from_salted_password,
    password_matches,
    saslprep,
)

DOMAIN = "example.com"
SECRET = b"server secret"
BINDINGS = {"tls-server-end-point": b"hash of the certificate", "tls-exporter": b"exported key material"}
SALT = bytes(range(SALT_BYTES))
KEYS = derive_keys("pencil", SALT, 4096, "sha256")
NONCE = "rOprNGfwEbeRWgbNEkqO"


def mechanism(name="SCRAM-SHA-256", **kwargs):
    return Scram(name, DOMAIN, secret=SECRET, nonce="server-nonce", **kwargs)


def challenged(scram, first=b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", keys=KEYS):
    """Bring the mechanism to the point where it waits for the final message; return its challenge."""
    assert isinstance(scram.start(first), NeedKeys)
    step = scram.supply(keys)
    assert isinstance(step, Challenge)
    return step.data.decode()


def final(
    server_first, *, binding=b"n,,", nonce=None, first_bare="n=user,r=" + NONCE, password="pencil", extra=""
):
    """What an honest client of SCRAM-SHA-256 answers, written from RFC 5802 3 and not with our own code."""
    fields = dict(part.split("=", 1) for part in server_first.split(","))
    salt = base64.b64decode(fields["s"])
    without_proof = f"c={base64.b64encode(binding).decode()},r={nonce or fields['r']}{extra}"
    auth_message = f"{first_bare},{server_first},{without_proof}".encode()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client_key).digest(), auth_message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()


def fails(condition):
    return pytest.raises(SASLError, match=f"^{condition}")


@pytest.mark.parametrize(
    ("name", "hash_name", "salt", "first", "server_nonce", "server_first", "client_final", "server_final"),
    [
        (  # RFC 5802 5
            "SCRAM-SHA-1",
            "sha1",
            "QSXCR+Q6sek8bf92",
            b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # RFC 7677 3
            "SCRAM-SHA-256",
            "sha256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_vectors_of_the_rfcs(
    name, hash_name, salt, first, server_nonce, server_first, client_final, server_final
):
    scram = Scram(name, DOMAIN, secret=SECRET, nonce=server_nonce)
    assert scram.start(first) == NeedKeys("user", hash_name)
    keys = derive_keys("pencil", base64.b64decode(salt), 4096, hash_name)
    assert scram.supply(keys) == Challenge(server_first)
    assert scram.respond(client_final) == Done("user", "", server_final)


def scramp_login(name, username="user", password="pencil", stored="pencil", binding=None, scram=None):
    """A login by scramp's client, which also checks our signature. Returns the last step."""
    scram = scram or create(
        name, domain=DOMAIN, secret=SECRET, channel_bindings=BINDINGS if binding else None
    )
    client = scramp.ScramClient([name], username, password, channel_binding=binding)
    need = scram.start(client.get_client_first().encode())
    step = scram.supply(derive_keys(stored, SALT, 4096, need.hash_name))
    client.set_server_first(step.data.decode())
    step = scram.respond(client.get_client_final().encode())
    client.set_server_final(step.data.decode())
    return step


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("binding", [None, ("tls-server-end-point", BINDINGS["tls-server-end-point"])])
def test_an_independent_client_logs_in_and_accepts_our_signature(name, binding):
    step = scramp_login(f"{name}-PLUS" if binding else name, binding=binding)
    assert step.username == "user"


@pytest.mark.parametrize(
    "password", ["p\u00e4ss w\u00f6rd", "I\u00adX", "\u2168", "a\u00a0b", ",=,=2C", "\u0627\u0644\u0633"]
)
def test_passwords_beyond_ascii_are_prepared_as_the_client_does(password):
    assert scramp_login("SCRAM-SHA-256", password=password, stored=password).username == "user"


def test_equivalent_spellings_of_a_password_are_one_password():
    assert scramp_login("SCRAM-SHA-256", password="IX", stored="\u2168").username == "user"


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_wrong_password_is_refused(name):
    with fails("not-authorized"):
        scramp_login(name, password="pencil", stored="Pencil")


def test_wrong_channel_binding_data_is_refused():
    with fails("not-authorized"):
        scramp_login("SCRAM-SHA-256-PLUS", binding=("tls-server-end-point", b"that of another"))


def test_user_name_is_unescaped_and_prepared():
    assert mechanism().start(b"n,,n=Us=3Der=2C,r=abc") == NeedKeys("us=er,", "sha256")


def test_login_without_initial_response_begins_with_an_empty_challenge():
    scram = mechanism()
    assert scram.start(None) == Challenge(b"")
    assert scram.respond(b"n,,n=user,r=abc") == NeedKeys("user", "sha256")


def test_own_authzid_is_accepted():
    scram = mechanism()
    first = b"n,a=User@example.com,n=user,r=" + NONCE.encode()
    server_first = challenged(scram, first)
    done = scram.respond(final(server_first, binding=b"n,a=User@example.com,"))
    assert (done.username, done.authzid) == ("user", "User@example.com")


@pytest.mark.parametrize(
    "authzid",
    ["admin@example.com", "user@example.net", "user", "example.com", "user@example.com/x", "@", "user@"],
)
def test_foreign_authzid_is_refused(authzid):
    with fails("invalid-authzid"):
        mechanism().start(f"n,a={authzid},n=user,r=abc".encode())


def test_y_flag_is_refused_only_while_plus_was_offered():
    first = b"y,,n=user,r=" + NONCE.encode()
    with fails("not-authorized"):
        mechanism(channel_bindings=BINDINGS).start(first)
    scram = mechanism()
    assert scram.respond(final(challenged(scram, first), binding=b"y,,")).username == "user"


def test_n_flag_is_accepted_while_plus_was_offered():
    scram = mechanism(channel_bindings=BINDINGS)
    assert scram.respond(final(challenged(scram))).username == "user"


@pytest.mark.parametrize(
    ("name", "flag", "condition"),
    [
        ("SCRAM-SHA-256", "p=tls-exporter", "malformed-request"),
        ("SCRAM-SHA-256-PLUS", "n", "malformed-request"),
        ("SCRAM-SHA-256-PLUS", "y", "malformed-request"),
        ("SCRAM-SHA-256-PLUS", "p=tls-unique", "not-authorized"),
        ("SCRAM-SHA-256-PLUS", "p=", "malformed-request"),
        ("SCRAM-SHA-256-PLUS", "p", "malformed-request"),
    ],
)
def test_flag_must_fit_mechanism_and_offer(name, flag, condition):
    with fails(condition):
        mechanism(name, channel_bindings=BINDINGS).start(f"{flag},,n=user,r=abc".encode())


@pytest.mark.parametrize(
    "binding", [b"y,,", b"p=tls-exporter,,", b"n,a=user@example.com,", b"", b"n,,x", b"N,,"]
)
def test_binding_must_repeat_the_header(binding):
    scram = mechanism()
    with fails("not-authorized"):
        scram.respond(final(challenged(scram), binding=binding))


def test_login_bound_to_exported_key_material():
    scram = mechanism("SCRAM-SHA-256-PLUS", channel_bindings=BINDINGS)
    server_first = challenged(scram, b"p=tls-exporter,,n=user,r=" + NONCE.encode())
    answer = final(server_first, binding=b"p=tls-exporter,," + BINDINGS["tls-exporter"])
    assert scram.respond(answer).username == "user"


def test_binding_of_another_type_is_refused():
    scram = mechanism("SCRAM-SHA-256-PLUS", channel_bindings=BINDINGS)
    server_first = challenged(scram, b"p=tls-exporter,,n=user,r=" + NONCE.encode())
    with fails("not-authorized"):
        scram.respond(final(server_first, binding=b"p=tls-exporter,," + BINDINGS["tls-server-end-point"]))


@pytest.mark.parametrize(
    "nonce", [NONCE, NONCE + "server-nonc", NONCE + "server-nonce1", "x" + NONCE + "server-nonce"]
)
def test_nonce_must_be_repeated(nonce):
    scram = mechanism()
    with fails("not-authorized"):
        scram.respond(final(challenged(scram), nonce=nonce))


def test_recorded_login_cannot_be_replayed():
    first = b"n,,n=user,r=" + NONCE.encode()
    victim = Scram("SCRAM-SHA-256", DOMAIN, secret=SECRET)
    recorded = final(challenged(victim, first))
    assert victim.respond(recorded).username == "user"
    attacked = Scram("SCRAM-SHA-256", DOMAIN, secret=SECRET)
    challenged(attacked, first)
    with fails("not-authorized"):
        attacked.respond(recorded)


def test_unknown_user_is_challenged_like_a_known_one_and_always_the_same():
    def challenge(username, name="SCRAM-SHA-256", secret=SECRET):
        scram = Scram(name, DOMAIN, secret=secret, iterations=4096, nonce="server-nonce")
        return challenged(scram, f"n,,n={username},r={NONCE}".encode(), keys=None)

    known = challenged(mechanism())
    assert len(challenge("nobody")) == len(known)
    assert challenge("nobody").rpartition(",")[2] == known.rpartition(",")[2]
    assert challenge("nobody") == challenge("Nobody") == challenge("nobody", name="SCRAM-SHA-1")
    assert challenge("nobody") != challenge("noone")
    assert challenge("nobody") != challenge("nobody", secret=b"another server")


def test_unknown_user_fails_as_a_wrong_password_does():
    errors = []
    for keys, password in [(None, "pencil"), (KEYS, "pen")]:
        scram = mechanism(iterations=4096)
        with pytest.raises(SASLError) as caught:
            scram.respond(final(challenged(scram, keys=keys), password=password))
        errors.append(caught.value.args)
    assert errors == [("not-authorized", "")] * 2


def test_unknown_user_fails_even_with_a_right_proof():
    fake = fake_keys("user", SECRET, 4096)
    # Whoever could compute the proof for the fake keys still must not get in.
    scram = mechanism(iterations=4096)
    server_first = challenged(scram, keys=None)
    without_proof = f"c=biws,r={NONCE}server-nonce"
    client_key = bytes(32)
    scram._keys = keys_with(client_key, fake)
    signature = hmac.digest(
        scram._keys.stored_key, f"n=user,r={NONCE},{server_first},{without_proof}".encode(), "sha256"
    )
    with fails("not-authorized"):
        scram.respond(f"{without_proof},p={base64.b64encode(signature).decode()}".encode())


def keys_with(client_key, keys):
    from dataclasses import replace

    return replace(keys, stored_key=hashlib.sha256(client_key).digest())


def test_extra_attributes_are_sent_and_signed():
    scram = mechanism(attributes=(("h", "aGFzaA=="),))
    server_first = challenged(scram)
    assert server_first.endswith(",i=4096,h=aGFzaA==")
    assert scram.respond(final(server_first)).username == "user"


def test_downgrade_protection_as_in_the_example():
    """XEP-0474 5.3, whatever the order of the lists."""
    mechanisms, types = ["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], ["tls-exporter", "tls-server-end-point"]
    for name in mechanisms:
        for step in (1, -1):
            found = downgrade_protection(name, mechanisms[::step], types[::step])
            assert found == ("h", "G6k/rBLDqgOhRRaCuuatSDFkJ08=")


def test_downgrade_protection_covers_what_was_offered():
    mechanisms, types = ["SCRAM-SHA-256-PLUS", "PLAIN"], ["tls-server-end-point", "tls-exporter"]
    offer = b"PLAIN\x1eSCRAM-SHA-256-PLUS"
    with_types = offer + b"\x1ftls-exporter\x1etls-server-end-point"
    for advertised, text in [(types, with_types), (None, offer)]:
        name, value = downgrade_protection("SCRAM-SHA-256-PLUS", mechanisms, advertised)
        assert (name, base64.b64decode(value)) == ("h", hashlib.sha256(text).digest())


def test_optional_extensions_are_ignored_and_signed():
    scram = mechanism()
    bare = f"n=user,r={NONCE},x=1,z==="
    server_first = challenged(scram, f"n,,{bare}".encode())
    assert scram.respond(final(server_first, first_bare=bare, extra=",y=a=b")).username == "user"


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b",",
        b",,,",
        b"n,,n=user",
        b"n,n=user,r=abc",
        b"n,,n=,r=abc",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=user,r=\xc3\xa9",
        b"n,,r=abc,n=user",
        b"n,,n=us=er,r=abc",
        b"n,,n=us=2cer,r=abc",
        b"n,,n=us=,r=abc",
        b"n,,n=user\0,r=abc",
        b"n,,n=\xff,r=abc",
        b"n,,m=x,n=user,r=abc",
        b"n,,n=user,r=abc,m=x",
        b"n,,n=user,r=abc,",
        b"n,,n=user,r=abc,x",
        b"n,,n=user,r=abc,x=",
        b"n,,n=user,r=abc,1=x",
        b"N,,n=user,r=abc",
        b"x,,n=user,r=abc",
        b"n,a=,n=user,r=abc",
        b"n,user,n=user,r=abc",
        b"p=t/s,,n=user,r=abc",
    ],
)
def test_malformed_first_message_is_refused(first):
    with fails("malformed-request"):
        mechanism().start(first)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws",
        b"c=biws,p=AAAA",
        b"r=abc,c=biws,p=AAAA",
        b"c=biws,r=abc",
        b"c=biw,r=abc,p=" + base64.b64encode(bytes(32)),
        b"c=bi ws,r=abc,p=" + base64.b64encode(bytes(32)),
        b"c=bix=,r=abc,p=" + base64.b64encode(bytes(32)),
        b"c=biws,r=abc,m=x,p=" + base64.b64encode(bytes(32)),
        b"c=biws,r=abc,p=" + base64.b64encode(bytes(31)),
        b"c=biws,r=abc,p=" + base64.b64encode(bytes(33)),
        b"c=biws,r=abc,p=",
        b"c=biws,r=abc,p=AAAA====",
        b"c=biws,r=abc,p=\xff",
    ],
)
def test_malformed_final_message_is_refused(message):
    scram = mechanism()
    challenged(scram)
    with fails("malformed-request"):
        scram.respond(message)


def test_name_that_no_account_can_have_is_refused():
    with fails("not-authorized"):
        mechanism().start(b"n,,n=us er,r=abc")


def test_messages_out_of_turn_are_refused():
    scram = mechanism()
    scram.start(b"n,,n=user,r=abc")
    with fails("malformed-request"):
        scram.respond(b"n,,n=user,r=abc")
    scram = mechanism()
    answer = final(challenged(scram))
    assert isinstance(scram.respond(answer), Done)
    with fails("malformed-request"):
        scram.respond(answer)
    with pytest.raises(RuntimeError):
        scram.supply(KEYS)


def test_a_failed_mechanism_cannot_be_tried_again():
    scram = mechanism()
    server_first = challenged(scram)
    with fails("not-authorized"):
        scram.respond(final(server_first, password="pen"))
    with fails("malformed-request"):
        scram.respond(final(server_first))


def test_server_nonce_is_new_every_time():
    assert len({challenged(Scram("SCRAM-SHA-256", DOMAIN, secret=SECRET)) for _ in range(20)}) == 20


messages = st.binary(max_size=60) | st.builds(
    lambda parts: ",".join(parts).encode(),
    st.lists(
        st.sampled_from(
            ["n", "y", "p=tls-exporter", "", "a=user@example.com", "n=user", "r=abc", "c=biws", "m=x"]
        )
        | st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace").decode()),
        max_size=7,
    ),
)


@settings(max_examples=300)
@given(st.sampled_from(["SCRAM-SHA-1", "SCRAM-SHA-512-PLUS"]), messages, messages, st.booleans())
def test_whatever_is_sent_only_sasl_errors_come(name, first, second, is_known):
    scram = mechanism(name, channel_bindings=BINDINGS)
    keys = derive_keys("pencil", SALT, 1, scram.hash_name) if is_known else None
    try:
        step = scram.start(first)
        assert isinstance(step, NeedKeys)
        assert isinstance(scram.supply(keys), Challenge)
        scram.respond(second)
    except SASLError:
        return
    raise AssertionError("got in without a proof")


@pytest.mark.parametrize(
    ("text", "prepared"),
    [  # RFC 4013 3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u1680b", "a b"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        ("\U0001f600", "\U0001f600"),
        ("", ""),
    ],
)
def test_saslprep(text, prepared):
    assert saslprep(text) == prepared


@pytest.mark.parametrize(
    "text", ["\u0007", "\u0627\u0031", "a\u0627", "\ud800", "a\u0000", "\u200ea", "\ue000"]
)
def test_saslprep_prohibits(text):
    with pytest.raises(ValueError, match="SASLprep"):
        saslprep(text)
    assert not password_matches(text, KEYS, "sha256")


def test_password_check_against_stored_keys():
    assert password_matches("pencil", KEYS, "sha256")
    assert not password_matches("Pencil", KEYS, "sha256")
    assert not password_matches("", KEYS, "sha256")
    with pytest.raises(ValueError, match="empty"):
        derive_keys("\u00ad", SALT, 1, "sha256")


def test_keys_from_an_exported_salted_password():
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", SALT, 4096)
    assert keys_from_salted_password(salted, SALT, 4096, "sha256") == KEYS


def test_keys_do_not_show_in_logs():
    assert "stored_key" not in repr(KEYS)
