"""The HSM key provider on a real SoftHSM2: what it makes, signs and survives."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from activities.signing.providers import pkcs11 as provider_module
from activities.signing.providers.open import open_keys
from activities.signing.providers.pkcs11 import Pkcs11KeyProvider
from activities.signing.providers.provider import FEE, TREASURY, deal_key
from activities.signing.providers.settings import KeySettings
from activities.signing.transactions import CURVE_ORDER
from domain.errors import (
    InvalidConfiguration,
    NotAllowed,
    NotFound,
    SigningRefused,
    Unavailable,
)
from tests.activities.signing.samples import STRANGER
from tests.activities.signing.transactions import LEGACY, assert_signed, random_intent
from tests.support.softhsm import SoftHsm, new_token

T = TypeVar("T")

SIGNATURES = 1_000
"""Of each kind; the HSM in software takes over half a millisecond for each."""


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    made = new_token(tmp_path / "hsm")
    monkeypatch.setenv("SOFTHSM2_CONF", "")
    made.use()
    return made


@pytest.fixture
async def keys(hsm: SoftHsm) -> AsyncIterator[Pkcs11KeyProvider]:
    async with opened(hsm) as keys:
        yield keys


def opened(hsm: SoftHsm) -> Any:
    return open_keys(settings_of(hsm), "production")


def settings_of(hsm: SoftHsm) -> KeySettings:
    return KeySettings.model_validate(
        {
            "key_provider": "pkcs11",
            "pkcs11_module": hsm.module,
            "pkcs11_token": hsm.label,
            "pkcs11_pin_file": hsm.pin_file,
        },
        by_name=True,
    )


def library(hsm: SoftHsm) -> Any:
    return pkcs11.lib(hsm.module)


def in_session(keys: Pkcs11KeyProvider) -> Any:
    """The provider's own session, to be broken."""
    session = keys._token._session
    assert session is not None
    return session


@pytest.mark.unmeasured
@pytest.mark.parametrize("legacy", LEGACY)
async def test_a_thousand_random_transactions_are_low_s_and_recover_to_the_account(
    keys: Pkcs11KeyProvider, *, legacy: bool
) -> None:
    refs = [TREASURY, FEE, *(deal_key(number) for number in range(3))]
    accounts = {ref: await keys.create(ref) for ref in refs}
    assert len(set(accounts.values())) == len(refs)
    for number in range(SIGNATURES):
        ref = refs[number % len(refs)]
        intent = random_intent(accounts[ref], number)
        (signed,) = await keys.sign(ref, [intent], legacy=legacy)
        assert_signed(intent, signed, legacy=legacy)


async def test_half_of_what_the_hsm_gives_has_to_be_made_low(
    keys: Pkcs11KeyProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = provider_module.Signature.from_bytes

    def spy(raw: bytes) -> Any:
        seen.append(real(raw))
        return seen[-1]

    monkeypatch.setattr(provider_module.Signature, "from_bytes", spy)
    account = await keys.create(deal_key(0))
    for number in range(64):
        await keys.sign(deal_key(0), [random_intent(account, number)])
    assert {signature.s <= CURVE_ORDER // 2 for signature in seen} == {True, False}


async def test_a_pair_is_made_once_and_never_leaves(keys: Pkcs11KeyProvider) -> None:
    account = await keys.create(deal_key(7))
    assert await keys.create(deal_key(7)) == account == await keys.address(deal_key(7))
    key = in_session(keys).get_key(object_class=ObjectClass.PRIVATE_KEY, label="deal-1-7")
    kept = (Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
    assert [key[attribute] for attribute in kept] == [True, True, True]
    assert not key[Attribute.EXTRACTABLE]
    with pytest.raises(pkcs11.exceptions.AttributeSensitive):
        key[Attribute.VALUE]


async def test_pairs_outlast_the_process_that_made_them(hsm: SoftHsm) -> None:
    async with opened(hsm) as first:
        account = await first.create(deal_key(0))
    async with opened(hsm) as second:
        assert await second.address(deal_key(0)) == account
        intent = random_intent(account)
        (signed,) = await second.sign(deal_key(0), [intent])
    assert_signed(intent, signed, legacy=False)


async def test_a_pair_that_was_never_finished_is_made_anew(keys: Pkcs11KeyProvider) -> None:
    left = await keys.create(deal_key(0))
    in_session(keys).get_key(object_class=ObjectClass.PRIVATE_KEY, label="deal-1-0").destroy()
    keys._pairs.clear()
    with pytest.raises(NotFound):
        await keys.address(deal_key(0))
    assert await keys.create(deal_key(0)) != left
    assert await keys.address(deal_key(0)) == await keys.create(deal_key(0))


async def test_a_key_that_is_not_there_is_named(keys: Pkcs11KeyProvider) -> None:
    with pytest.raises(NotFound) as caught:
        await keys.address(deal_key(5, 2))
    assert caught.value.problem.value == "deal-2-5"


async def test_nothing_is_signed_for_another_sender(keys: Pkcs11KeyProvider) -> None:
    await keys.create(deal_key(0))
    with pytest.raises(SigningRefused):
        await keys.sign(deal_key(0), [random_intent(STRANGER)])


async def test_a_key_that_could_be_taken_out_is_not_used(keys: Pkcs11KeyProvider) -> None:
    session = in_session(keys)
    curve = session.create_domain_parameters(
        KeyType.EC,
        {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256k1")},
        local=True,
    )
    loose = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}
    curve.generate_keypair(store=True, label="deal-1-0", private_template=loose)
    with pytest.raises(InvalidConfiguration, match="taken out"):
        await keys.create(deal_key(0))


async def test_two_keys_of_one_label_are_not_chosen_from(keys: Pkcs11KeyProvider) -> None:
    await keys.create(deal_key(0))
    curve = in_session(keys).create_domain_parameters(
        KeyType.EC,
        {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256k1")},
        local=True,
    )
    curve.generate_keypair(store=True, label="deal-1-0")
    keys._pairs.clear()
    with pytest.raises(InvalidConfiguration, match="more than one"):
        await keys.address(deal_key(0))


async def test_a_key_of_another_curve_is_not_used(keys: Pkcs11KeyProvider) -> None:
    curve = in_session(keys).create_domain_parameters(
        KeyType.EC,
        {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
        local=True,
    )
    curve.generate_keypair(store=True, label="deal-1-0", private_template=provider_module._PRIVATE)
    with pytest.raises(InvalidConfiguration, match="another curve"):
        await keys.address(deal_key(0))


# The session is lost


async def test_a_closed_session_is_opened_again(keys: Pkcs11KeyProvider) -> None:
    account = await keys.create(deal_key(0))
    in_session(keys).close()
    await signs(keys, account)
    assert keys._token.logins == 2


async def test_a_library_that_was_finalised_is_initialised_again(
    hsm: SoftHsm, keys: Pkcs11KeyProvider
) -> None:
    account = await keys.create(deal_key(0))
    library(hsm).finalize()
    await signs(keys, account)


async def test_without_its_token_it_is_unavailable_until_that_is_back(
    hsm: SoftHsm, keys: Pkcs11KeyProvider
) -> None:
    account = await keys.create(deal_key(0))
    hsm.take_away()
    in_session(keys).close()
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            await keys.sign(deal_key(0), [random_intent(account)])
        assert caught.value.problem.value == hsm.label
    hsm.put_back()
    await signs(keys, account)


async def test_it_can_be_opened_before_its_token_is_there(hsm: SoftHsm) -> None:
    hsm.take_away()
    async with opened(hsm) as keys:
        with pytest.raises(Unavailable):
            await keys.create(deal_key(0))
        hsm.put_back()
        await keys.create(deal_key(0))


async def test_many_at_once_through_losses_never_get_a_wrong_signature(
    hsm: SoftHsm, keys: Pkcs11KeyProvider
) -> None:
    accounts = [await keys.create(deal_key(number)) for number in range(4)]

    async def breaking(call: Callable[[], object]) -> None:
        """In the token's own thread, the library's loading as well: else it may be in two."""
        with suppress(pkcs11.PKCS11Error):
            await asyncio.get_running_loop().run_in_executor(keys._thread, call)

    async def sign(number: int) -> None:
        index = number % 4
        intent = random_intent(accounts[index], number)
        if number % 10 == 0:
            await breaking(lambda: in_session(keys).close())
        if number % 25 == 5:
            await breaking(lambda: library(hsm).finalize())
        (signed,) = await patiently(lambda: keys.sign(deal_key(index), [intent]))
        assert_signed(intent, signed, legacy=False)

    await asyncio.gather(*(sign(number) for number in range(100)))
    assert keys._token.logins > 2


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """As Temporal does: what was unavailable is asked for again."""
    for _ in range(10):
        with suppress(Unavailable):
            return await call()
    return await call()


class Liar:
    """A private key whose signature is by another one, or is none at all."""

    def __init__(self, signature: Any) -> None:
        self._signature = signature

    def sign(self, digest: bytes, mechanism: Mechanism) -> bytes:
        assert mechanism is Mechanism.ECDSA
        return self._signature(digest)


def lie(keys: Pkcs11KeyProvider, liar: Liar) -> None:
    """Put the liar in the place of the private key of deal-1-0."""
    keys._pairs["deal-1-0"] = replace(keys._pairs["deal-1-0"], private=liar)


@pytest.mark.parametrize("kind", ["other", "zero", "short", "too large"])
async def test_a_wrong_signature_goes_nowhere(keys: Pkcs11KeyProvider, kind: str) -> None:
    account, _ = await keys.create(deal_key(0)), await keys.create(deal_key(1))
    other = keys._pairs["deal-1-1"].private
    wrong = {
        "other": lambda digest: other.sign(digest, mechanism=Mechanism.ECDSA),
        "zero": lambda _: bytes(64),
        "short": lambda _: bytes(3),
        "too large": lambda _: b"\xff" * 64,
    }
    lie(keys, Liar(wrong[kind]))
    with pytest.raises(Unavailable, match="not by the key"):
        await keys.sign(deal_key(0), [random_intent(account)])
    await signs(keys, account)  # nothing of that session is believed any more


async def test_an_hsm_that_does_not_answer_is_given_up(
    keys: Pkcs11KeyProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await keys.create(deal_key(0))
    hanging = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(_: bytes) -> bytes:
        asyncio.run_coroutine_threadsafe(hanging.wait(), loop).result()
        return bytes(64)

    lie(keys, Liar(hang))
    with monkeypatch.context() as impatient:
        impatient.setattr(provider_module, "_ANSWER_SECONDS", 0.05)
        with pytest.raises(Unavailable, match="too long"):
            await keys.sign(deal_key(0), [random_intent(account)])
    hanging.set()
    await signs(keys, account)


async def signs(keys: Pkcs11KeyProvider, account: Any) -> None:
    intent = random_intent(account)
    (signed,) = await keys.sign(deal_key(0), [intent])
    assert_signed(intent, signed, legacy=False)


# The life of keys


async def test_a_retired_key_cannot_sign_and_a_reinstated_one_can(
    hsm: SoftHsm, keys: Pkcs11KeyProvider
) -> None:
    account = await keys.create(deal_key(0))
    for _ in range(2):
        await keys.retire(deal_key(0))
    with pytest.raises(SigningRefused, match="retired"):
        await keys.sign(deal_key(0), [random_intent(account)])
    async with opened(hsm) as other:
        with pytest.raises(SigningRefused, match="retired"):
            await other.sign(deal_key(0), [random_intent(account)])
    for _ in range(2):
        await keys.reinstate(deal_key(0))
    await signs(keys, account)


async def test_a_key_that_another_signer_has_retired_cannot_sign(
    keys: Pkcs11KeyProvider,
) -> None:
    account = await keys.create(deal_key(0))
    await signs(keys, account)
    # In the token itself, while this provider remembers otherwise.
    keys._pairs["deal-1-0"].private[Attribute.SIGN] = False
    assert keys._pairs["deal-1-0"].usable
    with pytest.raises(SigningRefused, match="retired"):
        await keys.sign(deal_key(0), [random_intent(account)])


async def test_a_new_generation_is_remembered_by_the_token(hsm: SoftHsm) -> None:
    async with opened(hsm) as keys:
        assert await keys.generation() == 1
        assert await keys.rotate_seed() == 2
        old, new = await keys.create(deal_key(0)), await keys.create(deal_key(1, 2))
    async with opened(hsm) as keys:
        assert await keys.generation() == 2
        assert await keys.address(deal_key(0)) == old
        assert await keys.address(deal_key(1, 2)) == new
        assert await keys.rotate_seed() == 3


async def test_its_wrapping_key_is_its_own_affair(keys: Pkcs11KeyProvider) -> None:
    with pytest.raises(NotAllowed, match="its own wrapping key"):
        await keys.rotate_wrapping()


# Settings


async def test_a_wrong_pin_is_tried_once_only(hsm: SoftHsm) -> None:
    right = hsm.pin_file.read_text()
    hsm.pin_file.write_text("0000")
    keys = Pkcs11KeyProvider(provider_module.Token(Path(hsm.module), hsm.label, hsm.pin_file))
    with pytest.raises(InvalidConfiguration) as first:
        await keys.address(TREASURY)
    with pytest.raises(InvalidConfiguration) as second:
        await keys.address(TREASURY)
    assert (first.value.problem.field, second.value.problem.actual) == (
        "DEAL_PKCS11_PIN_FILE",
        "it was refused before",
    )
    assert "0000" not in first.value.problem.model_dump_json()
    hsm.pin_file.write_text(right)
    await keys.create(TREASURY)
    await keys.close()


@pytest.mark.parametrize("name", ["pkcs11_module", "pkcs11_token", "pkcs11_pin_file"])
async def test_a_missing_setting_is_named(hsm: SoftHsm, name: str) -> None:
    settings = settings_of(hsm).model_copy(update={name: None})
    with pytest.raises(InvalidConfiguration) as caught:
        async with open_keys(settings, "production"):
            pass
    assert caught.value.problem.field == f"DEAL_{name.upper()}"


async def test_a_module_that_is_none_is_named(hsm: SoftHsm) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        async with opened(replace(hsm, module="/nowhere/module.so")):
            pass
    assert caught.value.problem.field == "DEAL_PKCS11_MODULE"


async def test_a_pin_file_open_to_others_is_refused(hsm: SoftHsm) -> None:
    hsm.pin_file.chmod(0o644)
    with pytest.raises(InvalidConfiguration, match="open to others"):
        async with opened(hsm):
            pass


def test_the_pin_is_in_no_text(hsm: SoftHsm, keys: Pkcs11KeyProvider) -> None:
    pin = hsm.pin_file.read_text()
    assert pin not in repr(keys) + repr(vars(keys)) + repr(vars(keys._token))
    assert pin not in str(os.environ)
