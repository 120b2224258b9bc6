"""What is masked in text, and what must stay readable."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_letters, ascii_lowercase, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import masking
from domain.errors import DealError, InvalidInput, Problem, error_from
from domain.masking import MASK, mask, remember, remember_address

HEX = digits + "abcdef"
hashes = st.text(HEX, min_size=64, max_size=64)
words = st.text(ascii_lowercase, min_size=1, max_size=12)
secrets = st.text(ascii_letters + digits + "_-", min_size=8, max_size=40).filter(
    lambda text: text != "password"
)

facts = st.one_of(
    hashes.map("0x".__add__),
    hashes,
    hashes.map("transaction_hash={}".format),
    hashes.map('"digest":"{}"'.format),
    hashes.map("https://explorer.example/tx/0x{}".format),
    st.text(HEX, min_size=40, max_size=40).map("0x".__add__),
    st.text(HEX, min_size=8, max_size=800).map("0x".__add__),
    st.integers(min_value=0).map(str),
    st.datetimes().map(str),
    st.builds("deal-{}-{}".format, words, st.integers(0, 10**9)),
    st.builds("{}/{}/1/1/0".format, words, words),
    words.map("http://127.0.0.1:8233/namespaces/default/workflows/deal-{}".format),
    st.builds("postgresql://deal_engine@/deal?host=/tmp/{}".format, words),
    st.builds("/var/lib/{}/keystore.json".format, words),
    st.uuids().map(str),
    st.sampled_from(["token usdt", "key store", "secret", "the seed", "a passphrase file"]),
)  # fmt: skip


@given(st.lists(facts, max_size=8), st.sampled_from([" ", ", ", "; ", " of ", "\n"]))
def test_hashes_addresses_ids_and_prose_stay(parts: list[str], between: str) -> None:
    for ending in ("secret", "seed"):  # where the next fact would be a key
        parts = [part for part in parts if not part.endswith(ending)]
    text = between.join(parts)
    assert mask(text) == text


@given(st.lists(st.one_of(facts, secrets.map("password={}".format), st.text()), max_size=6))
def test_masking_twice_changes_nothing(parts: list[str]) -> None:
    once = mask(" ".join(parts))
    assert mask(once) == once


@given(hashes, st.sampled_from(["", "0x"]), st.sampled_from([str.lower, str.upper]))
@pytest.mark.parametrize(
    "before",
    [
        "private key ", "private_key=", '"privateKey": "', "privkey: ", "seed ", "the seed is ",
        "seed=", "entropy: ", "PRIVATE KEY ", "secret ", "signing key: ", "deal_seed = ",
        "secret_key='", "passphrase: ", "master-key ", "seed = b'",
    ],
)  # fmt: skip
def test_a_key_after_a_word_that_says_so_is_masked(
    before: str, key: str, prefix: str, written: Callable[[str], str]
) -> None:
    quote = before[-1] if before[-1] in "'\"" else ""
    masked = mask(f"x {before}{prefix}{written(key)}{quote}, and more")
    assert key not in masked.lower()
    assert MASK in masked
    assert masked.startswith("x ")
    assert masked.endswith("and more")


@given(st.text(HEX, min_size=128, max_size=128))
def test_a_seed_of_64_bytes_is_masked_as_well(seed: str) -> None:
    assert seed not in mask(f"seed={seed}")


@given(secrets)
@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("postgresql://engine:{}@db.internal:5432/deal failed", "postgresql://engine:***@db.intern"),
        ("redis://:{}@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("connect to https://{}@rpc.example/", "https://***@rpc.example/"),
        ("password={} host=db", "password=*** host=db"),
        ("{{'password': '{}', 'host': 'db'}}", "'host': 'db'"),
        ('{{"client_token": "{}", "ttl": 5}}', '"ttl": 5'),
        ("DEAL_KEYSTORE_PASSPHRASE={}", "DEAL_KEYSTORE_PASSPHRASE=***"),
        ("TEMPORAL_API_KEY={}\n", "TEMPORAL_API_KEY=***\n"),
        ("get https://rpc.example/?apikey={}&x=1: 503", "&x=1: 503"),
        ("wss://rpc.example/ws?access_token={}", "wss://rpc.example/ws?access_token=***"),
        ("Authorization: Basic {}", "Authorization: Basic ***"),
        ("secret_id: {}", "secret_id: ***"),
    ],
)  # fmt: skip
def test_a_secret_is_masked_by_where_it_stands(text: str, stays: str, secret: str) -> None:
    masked = mask(text.format(secret))
    assert secret not in masked.replace("password", "").replace("client_token", "")
    assert stays in masked


@given(st.text(ascii_letters + digits, min_size=24, max_size=24))
@pytest.mark.parametrize("shape", ["hvs.{}", "hvb.{}", "s.{}", "Bearer {}", "bearer {}"])
def test_tokens_are_masked_by_their_shape(shape: str, drawn: str) -> None:
    assert drawn not in mask(f"sent {shape.format(drawn)} twice")


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZXNrIn0.c2lnbmF0dXJlLW9mLWl0",
        "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA==\nAbC/+=\n-----END EC PRIVATE KEY-----",
        "https://mainnet.example/v3/0123456789abcdef0123456789abcdef",
        "https://eth.example/v2/aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW",
    ],
)
def test_other_shapes(secret: str) -> None:
    assert secret.rpartition("/")[2][:40] not in mask(f"with {secret} it failed")


def test_our_own_examples_of_an_address_stay() -> None:
    example = "postgresql://user:password@host:port/database"
    assert mask(example) == example


@pytest.fixture
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", {})


@pytest.mark.usefixtures("_forgetful")
def test_what_is_known_is_masked_wherever_it_is() -> None:
    remember("correct horse")
    remember("correct horse battery")
    assert mask("say 'correct horse battery' or correct horse!") == "say '***' or ***!"
    remember("short")
    assert mask("a short one") == "a short one"


@pytest.mark.usefixtures("_forgetful")
def test_the_key_in_an_address_is_known_from_then_on() -> None:
    remember_address(
        "https://user-name:s3cret-pass@rpc.example/v3/abcdefghijklmnopqrstuvwx?k=lower-case"
    )
    remember_address("postgresql://deal_engine:pass%20word-1@db/deal")
    told = (
        "abcdefghijklmnopqrstuvwx, lower-case, s3cret-pass, user-name, pass word-1, pass%20word-1"
    )
    assert mask(told) == ", ".join([MASK] * 6)
    assert mask("deal_engine of rpc.example/v3") == "deal_engine of rpc.example/v3"
    remember_address("http://[broken")


def test_no_error_tells_a_secret_in_any_of_its_parts() -> None:
    address = "postgresql://engine:hunter-22@db/deal"
    error = InvalidInput(
        f"no {address}", next_action=f"try {address}", value=address, limit=address,
        actual=address, headroom=address, field="database_url",
    )  # fmt: skip
    told = [str(error), repr(error), error.problem.model_dump_json(), repr(error.problem)]
    assert [text for text in told if "hunter-22" in text] == []
    assert error.problem.value == "postgresql://engine:***@db/deal"
    assert error_from(error.problem).problem == error.problem
    carried = Problem(code=DealError.code, message=f"ValueError: {address}", next_action="look")
    assert "hunter-22" not in carried.message
