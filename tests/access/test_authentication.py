"""Which credentials count, against a real Postgres and a real issuer of tokens."""

from __future__ import annotations

import base64
import hmac
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import jwt
import psycopg
import pytest

from domain.errors import InvalidConfiguration, Unauthenticated, Unavailable
from domain.identity import Caller, Permission, Role, Via
from domain.masking import mask
from starters.access import jwks
from starters.access.authentication import Authenticator
from starters.access.jwks import KeySet, usable_keys
from starters.access.keys import ApiKey
from starters.access.people import PeopleReader
from starters.access.tokens import TokenVerifier
from starters.deals.database import single_connection
from tests.access.issuer import AUDIENCE, ISSUER, Issuer, running_issuer
from tests.control.people import add_principal, change
from tests.support.postgres import Database
from workers.runtime.settings import AccessSettings


@pytest.fixture(scope="module")
def people(database: Database) -> Database:
    """Vera comes with tokens, the robot with keys."""
    add_principal(database, "root", "admin")
    add_principal(database, "vera", "viewer", banks=("alpha",), subject="sub-vera")
    add_principal(database, "gone", "viewer", subject="sub-gone")
    change(
        database, "UPDATE control.principals SET disabled_at = now() WHERE principal_id = 'gone'"
    )
    add_principal(database, "robot", "trader", kind="service", banks=("alpha", "beta"))
    return database


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        for key_id, algorithm in (("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")):
            issuer.add(key_id, algorithm)
        yield issuer


@pytest.fixture
def door(people: Database, issuer: Issuer) -> Authenticator:
    keys = KeySet(issuer.url, cache_seconds=300)
    return Authenticator(reader(people), TokenVerifier(ISSUER, AUDIENCE, keys, 5))


def reader(database: Database) -> PeopleReader:
    return PeopleReader(single_connection(database.role("deal_reader")))


def add_key(
    database: Database, who: str = "robot", scopes: list[str] | None = None, valid: str = "1 day"
) -> ApiKey:
    key = ApiKey.generate()
    change(
        database,
        "INSERT INTO control.api_keys"
        " (key_id, principal_id, hash, scopes, created_at, expires_at)"
        " VALUES (%s, %s, %s, %s, now() - interval '2 days', now() + %s::interval)",
        key.key_id,
        who,
        key.hash,
        scopes,
        valid,
    )
    return key


async def come_in(door: Authenticator, credential: str) -> Caller:
    return await door.authenticate(credential, via=Via.API, address="10.0.0.9", request_id="r-1")


async def test_a_key_is_its_owners(door: Authenticator, people: Database) -> None:
    key = add_key(people)
    caller = await come_in(door, key.text)
    assert caller.who == "robot"
    assert caller.principal.roles == {Role.TRADER}
    assert caller.banks == ("alpha", "beta")
    assert caller.scopes is None
    assert (caller.via, caller.address, caller.request_id) == (Via.API, "10.0.0.9", "r-1")
    assert caller.credential == f"key:{key.key_id}"
    assert key.text not in repr(caller)
    with psycopg.connect(people.owner) as connection:
        used = connection.execute(
            "SELECT last_used_at FROM control.api_keys WHERE key_id = %s", (key.key_id,)
        ).fetchone()
    assert used
    assert used[0] is not None


async def test_a_keys_scopes_narrow_what_its_owner_may(
    door: Authenticator, people: Database
) -> None:
    caller = await come_in(door, add_key(people, scopes=["deals.read"]).text)
    assert caller.may(Permission.DEALS_READ, "alpha")
    assert not caller.may(Permission.DEALS_START, "alpha")


async def refused(door: Authenticator, credential: str) -> tuple[str, str]:
    """The answer, whole; it has to be the same for whatever is wrong."""
    with pytest.raises(Unauthenticated) as answer:
        await come_in(door, credential)
    return answer.value.problem.model_dump_json(), str(answer.value)


async def test_every_refusal_is_the_same_answer_and_the_log_says_why(
    door: Authenticator, people: Database, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "deal.access")
    revoked, expired = add_key(people), add_key(people, valid="-1 second")
    change(
        people, "UPDATE control.api_keys SET revoked_at = now() WHERE key_id = %s", revoked.key_id
    )
    other = ApiKey(revoked.key_id, f"dk_{revoked.key_id}_{'A' * 43}")
    wrong = {
        "is none of ours": ApiKey.generate().text,
        "is revoked": revoked.text,
        "has expired": expired.text,
        f"{other.key_id} is none of ours": other.text,
        "gone is disabled": add_key(people, "gone").text,
        "DecodeError": "Zm9v",
        "nobody here is sub-nobody": issuer.token("rsa", sub="sub-nobody"),
        "gone": issuer.token("rsa", sub="sub-gone"),
    }
    answers = set()
    for reason, credential in wrong.items():
        caplog.clear()
        answers.add(await refused(door, credential))
        assert reason in caplog.text
        assert credential not in caplog.text
    assert len(answers) == 1


@pytest.mark.parametrize("key_id", ["rsa", "ec", "ed"])
async def test_a_token_names_whom_our_own_table_knows(
    door: Authenticator, issuer: Issuer, key_id: str
) -> None:
    # What a token says of roles and banks is nothing to us.
    caller = await come_in(door, issuer.token(key_id, roles=["admin"], banks=["*"]))
    assert caller.who == "vera"
    assert caller.principal.roles == {Role.VIEWER}
    assert caller.banks == ("alpha",)
    assert caller.credential == "token:token-1"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://other.example"}, "InvalidIssuerError"),
        ({"aud": "somebody-else"}, "InvalidAudienceError"),
        ({"aud": None}, "MissingRequiredClaimError"),
        ({"iss": None}, "MissingRequiredClaimError"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"iat": None}, "MissingRequiredClaimError"),
        ({"sub": None}, "MissingRequiredClaimError"),
        ({"exp": NOW - 60}, "ExpiredSignatureError"),
        ({"nbf": NOW + 3600}, "ImmatureSignatureError"),
        ({"iat": NOW + 3600}, "ImmatureSignatureError"),
        ({"sub": ""}, "no subject"),
    ],
)
async def test_a_token_is_held_to_its_claims(
    door: Authenticator,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    claims: dict[str, Any],
    reason: str,
) -> None:
    caplog.set_level(logging.WARNING, "deal.access")
    await refused(door, issuer.token("rsa", **claims))
    assert reason in caplog.text


async def test_clocks_may_differ_by_the_leeway_and_no_more(
    door: Authenticator, issuer: Issuer
) -> None:
    assert (await come_in(door, issuer.token("rsa", exp=int(time.time()) - 1))).who == "vera"
    await refused(door, issuer.token("rsa", exp=int(time.time()) - 30))


def part(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


def forged(header: dict[str, Any], key: bytes) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "sub-vera", "iat": NOW, "exp": NOW + 3600}
    text = f"{part(header)}.{part(claims)}"
    digest = hmac.new(key, text.encode(), "sha256").digest() if key else b""
    return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


async def test_a_token_without_a_signature_or_by_a_shared_secret_never_counts(
    door: Authenticator, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "deal.access")
    public = json.dumps(issuer.document()["keys"][0]).encode()
    for algorithm, key in (("none", b""), ("None", b""), ("HS256", public), ("HS256", b"secret")):
        caplog.clear()
        await refused(door, forged({"alg": algorithm, "kid": "rsa", "typ": "JWT"}, key))
        assert f"algorithm {algorithm}" in caplog.text


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"kid": "ec"}, "is for ES256, not RS256"),
        ({"kid": None}, "no key id"),
        ({"kid": "made-up"}, "is not the identity provider's"),
        ({"crit": ["x"], "x": 1}, ""),
    ],
)
async def test_a_tokens_header_has_to_fit_the_key(
    door: Authenticator,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    header: dict[str, Any],
    reason: str,
) -> None:
    caplog.set_level(logging.WARNING, "deal.access")
    token = issuer.token("rsa")
    given = {"alg": "RS256", "kid": "rsa"} | header
    _, _, rest = token.partition(".")
    await refused(door, f"{part({k: v for k, v in given.items() if v is not None})}.{rest}")
    assert reason in caplog.text


async def test_another_claim_under_the_same_signature_does_not_count(
    door: Authenticator, issuer: Issuer
) -> None:
    head, _, tail = issuer.token("rsa").split(".")
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "sub-root", "iat": NOW, "exp": NOW + 3600}
    await refused(door, f"{head}.{part(claims)}.{tail}")


async def test_what_is_longer_than_any_token_is_not_read(door: Authenticator) -> None:
    await refused(door, "e" * 20_000)


async def test_without_an_identity_provider_no_token_counts(
    people: Database, issuer: Issuer
) -> None:
    await refused(Authenticator(reader(people), None), issuer.token("rsa"))


class Clock:
    """Seconds as the test has them."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_new_key_is_fetched_at_once_but_not_too_often() -> None:
    with running_issuer() as issuer:
        issuer.add("one", "ES256")
        clock = Clock()
        keys = KeySet(issuer.url, cache_seconds=300, clock=clock)
        assert await keys.find("one") is not None
        assert await keys.find("one") is not None
        assert issuer.asked == 1
        issuer.add("two", "ES256")
        for _ in range(20):
            assert await keys.find("two") is None
        assert issuer.asked == 1
        clock.now += 10
        assert await keys.find("two") is not None
        assert issuer.asked == 2


async def test_a_key_that_was_taken_back_counts_no_longer_than_the_cache() -> None:
    with running_issuer() as issuer:
        issuer.add("one", "ES256")
        clock = Clock()
        keys = KeySet(issuer.url, cache_seconds=300, clock=clock)
        assert await keys.find("one") is not None
        issuer.hidden.add("one")
        clock.now += 299
        assert await keys.find("one") is not None
        clock.now += 1
        assert await keys.find("one") is None


async def test_kept_keys_serve_while_the_provider_is_away_and_not_for_longer() -> None:
    with running_issuer() as issuer:
        issuer.add("one", "ES256")
        clock = Clock()
        keys = KeySet(issuer.url, cache_seconds=300, clock=clock)
        assert await keys.find("one") is not None
        issuer.status = 503
        clock.now += 20
        assert await keys.find("other") is None
        assert await keys.find("one") is not None
        clock.now += 300
        for _ in range(3):
            with pytest.raises(Unavailable):
                await keys.find("one")
        assert issuer.asked == 3
        issuer.status = 200
        clock.now += 10
        assert await keys.find("one") is not None


async def test_a_token_is_not_refused_for_keys_that_cannot_be_read(people: Database) -> None:
    with running_issuer() as issuer:
        issuer.add("one", "ES256")
        issuer.status = 500
        verifier = TokenVerifier(ISSUER, AUDIENCE, KeySet(issuer.url, 300), 5)
        with pytest.raises(Unavailable, match="identity provider's keys"):
            await come_in(Authenticator(reader(people), verifier), issuer.token("one"))


def test_only_keys_that_may_sign_tokens_are_taken() -> None:
    issuer = Issuer()
    issuer.add("good", "ES256")
    issuer.add("short", "RS256", bits=1024)
    listed = issuer.document()["keys"]
    good = next(each for each in listed if each["kid"] == "good")
    listed += [
        good | {"kid": "encrypts", "use": "enc"},
        good | {"kid": ""},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {"kty": "unheard of", "kid": "odd"},
        "no key",
    ]
    assert set(usable_keys({"keys": listed})) == {"good"}
    with pytest.raises(ValueError, match="no list"):
        usable_keys({"keys": {}})


def test_a_page_that_is_too_long_or_elsewhere_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_issuer() as issuer:
        issuer.add("one", "ES256")
        assert jwks.fetch_json(issuer.url)["keys"]
        issuer.status = 302
        with pytest.raises(ValueError, match="HTTP 302"):
            jwks.fetch_json(issuer.url)
        issuer.status = 200
        monkeypatch.setattr(jwks, "_MOST_BYTES", 10)
        with pytest.raises(ValueError, match="more than 10 bytes"):
            jwks.fetch_json(issuer.url)


def test_a_key_has_256_bits_and_shows_none_of_them() -> None:
    keys = [ApiKey.generate() for _ in range(50)]
    assert len({key.text for key in keys}) == len({key.hash for key in keys}) == 50
    for key in keys:
        assert ApiKey.parse(key.text) == key
        assert len(base64.urlsafe_b64decode(key.text[16:] + "=")) == 32
        assert key.text[16:] not in repr(key)
        assert mask(f"used {key.text} just now") == "used *** just now"
        assert key.has_hash(key.hash)
        assert not key.has_hash("0" * 64)


@pytest.mark.parametrize("text", ["", "dk_short", "dk_" + "A" * 12 + "_" + "a" * 43])
def test_what_is_no_key_is_none(text: str) -> None:
    assert ApiKey.parse(text) is None


GOOD = {
    "oidc_issuer": ISSUER,
    "oidc_audience": AUDIENCE,
    "oidc_jwks_url": "https://identity.example/keys",
}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"oidc_audience": None}, "DEAL_OIDC_ISSUER"),
        ({"oidc_jwks_url": "http://identity.example/keys"}, "DEAL_OIDC_JWKS_URL"),
        ({"oidc_jwks_url": "http://127.0.0.1/keys"}, "DEAL_OIDC_JWKS_URL"),
        ({"oidc_jwks_url": "ftp://identity.example/keys"}, "DEAL_OIDC_JWKS_URL"),
        ({"oidc_jwks_url": "https:///keys"}, "DEAL_OIDC_JWKS_URL"),
    ],
)
def test_an_identity_provider_is_told_whole_and_over_https(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidConfiguration) as refused_:
        AccessSettings(**GOOD | changes).oidc()
    assert refused_.value.problem.field == field


def test_loopback_will_do_outside_production() -> None:
    local = GOOD | {"oidc_jwks_url": "http://127.0.0.1:9/keys", "environment": "development"}
    assert AccessSettings(**local).oidc() is not None
    assert AccessSettings(**GOOD).oidc() is not None
    assert AccessSettings().oidc() is None
    assert jwt.__version__
