"""The local key provider: where its seed is kept, which keys come of it, what it signs."""

import asyncio
import copy
import json
import logging
import pickle
from pathlib import Path

import pytest
from eth_account import Account
from pydantic import SecretBytes

from activities.signing.providers.keystore import Keystore, read_passphrase
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.providers.open import open_keys
from activities.signing.providers.provider import FEE, TREASURY, KeyPurpose, KeyRef, deal_key
from domain.errors import InvalidConfiguration, NotAllowed, NotFound, SigningRefused
from domain.identifiers import Address
from tests.activities.signing.samples import MNEMONIC, STRANGER
from tests.activities.signing.transactions import LEGACY, assert_signed, random_intent
from workers import signer as worker
from workers.runtime.settings import KeyStoreSettings

PASSPHRASE = SecretBytes(b"correct horse battery staple")
SIGNATURES = 5_000
"""Of each kind of transaction."""

VECTOR = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keystore.json"
    Keystore(path, PASSPHRASE).create()
    return path


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "rotated.json"
    Keystore(path, PASSPHRASE).create()
    Keystore(path, PASSPHRASE).add_seed()
    return path


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


async def test_keys_are_those_of_bip_44(keys: LocalKeyProvider) -> None:
    assert await keys.address(deal_key(0)) == VECTOR
    assert await keys.address(deal_key(1)) == "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    assert deal_key(7).path == "m/44'/60'/0'/0/7"
    assert TREASURY.path == "m/44'/60'/1'/0/0"
    assert FEE.path == "m/44'/60'/2'/0/0"
    assert deal_key(7, 2).label == "deal-2-7"


async def test_a_seed_is_that_of_bip_39() -> None:
    Account.enable_unaudited_hdwallet_features()
    expected = Account.from_mnemonic(MNEMONIC, account_path="m/44'/60'/1'/0/0").address
    keys = LocalKeyProvider.from_mnemonic(SecretBytes(MNEMONIC.encode()), "development")
    assert await keys.address(TREASURY) == expected


@pytest.mark.parametrize("index", [-1, 2**31])
def test_an_index_outside_bip_32_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="2\\^31"):
        KeyRef(KeyPurpose.DEAL, index)


def test_a_generation_before_the_first_is_refused() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        deal_key(0, generation=0)


@pytest.mark.unmeasured
@pytest.mark.parametrize("legacy", LEGACY)
async def test_five_thousand_random_transactions_are_low_s_and_recover_to_the_account(
    keys: LocalKeyProvider, *, legacy: bool
) -> None:
    refs = [TREASURY, FEE, *(deal_key(number) for number in range(50))]
    accounts = {ref: await keys.address(ref) for ref in refs}
    assert len(set(accounts.values())) == len(refs)
    for number in range(SIGNATURES):
        ref = refs[number % len(refs)]
        intent = random_intent(accounts[ref], number)
        (signed,) = await keys.sign(ref, [intent], legacy=legacy)
        assert_signed(intent, signed, legacy=legacy)


async def test_signatures_are_deterministic(keys: LocalKeyProvider) -> None:
    one = random_intent(VECTOR)
    assert await keys.sign(deal_key(0), [one]) == await keys.sign(deal_key(0), [one])


async def test_nothing_is_signed_for_another_sender(keys: LocalKeyProvider) -> None:
    with pytest.raises(SigningRefused):
        await keys.sign(deal_key(0), [random_intent(STRANGER)])


async def test_a_keystore_opens_to_the_same_keys(keystore: Path) -> None:
    first = LocalKeyProvider.open(Keystore(keystore, PASSPHRASE), "development")
    second = LocalKeyProvider.open(Keystore(keystore, PASSPHRASE), "development")
    for path in (TREASURY, deal_key(0), deal_key(1)):
        assert await first.address(path) == await second.address(path)


def test_a_keystore_is_private_and_leaves_nothing_beside_it(keystore: Path) -> None:
    assert keystore.stat().st_mode & 0o777 == 0o600
    assert list(keystore.parent.iterdir()) == [keystore]
    content = json.loads(keystore.read_text())
    wrapping = content["wrapping"]
    assert wrapping["crypto"]["kdf"] == "scrypt"
    assert wrapping["crypto"]["kdfparams"]["n"] >= 2**17
    assert "address" not in wrapping


def test_a_keystore_is_never_overwritten(keystore: Path) -> None:
    before = keystore.read_bytes()
    with pytest.raises(InvalidConfiguration, match="already"):
        Keystore(keystore, PASSPHRASE).create()
    Keystore(keystore, PASSPHRASE).ensure()
    assert keystore.read_bytes() == before
    assert list(keystore.parent.iterdir()) == [keystore]


def test_two_keystores_have_different_seeds(keystore: Path, tmp_path: Path) -> None:
    other = Keystore(tmp_path / "other.json", PASSPHRASE)
    other.ensure()
    assert other.read() != Keystore(keystore, PASSPHRASE).read()


async def test_a_keystore_of_before_opens_to_the_same_keys_and_can_be_rotated(
    tmp_path: Path,
) -> None:
    entropy = bytes(range(32))
    content = Account.encrypt(entropy, PASSPHRASE.get_secret_value().decode(), iterations=2)
    file = Keystore(written(tmp_path / "k.json", json.dumps(content).encode()), PASSPHRASE)
    assert [each.get_secret_value() for each in file.read()] == [entropy]
    before = LocalKeyProvider.open(file, "development")
    first = await before.address(deal_key(0))
    assert await before.rotate_seed() == 2
    after = LocalKeyProvider.open(file, "development")
    assert await after.address(deal_key(0)) == first
    assert file.read()[0].get_secret_value() == entropy


async def test_a_rotated_seed_is_for_new_keys_and_the_old_ones_stay(tmp_path: Path) -> None:
    file = Keystore(tmp_path / "keystore.json", PASSPHRASE)
    file.create()
    keys, other = (LocalKeyProvider.open(file, "development") for _ in range(2))
    old = await keys.address(deal_key(0))
    assert await keys.rotate_seed() == 2 == await keys.generation()
    new = await keys.address(deal_key(0, 2))
    assert new != old == await keys.address(deal_key(0))
    assert await other.generation() == 1  # until it is asked for a key of the new seed
    assert await other.address(deal_key(0, 2)) == new
    assert await other.generation() == 2
    assert file.path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotFound, match="generation 3"):
        await keys.address(deal_key(0, 3))


async def test_a_rotated_wrapping_key_changes_the_file_and_no_key(tmp_path: Path) -> None:
    file = Keystore(tmp_path / "keystore.json", PASSPHRASE)
    file.create()
    keys = LocalKeyProvider.open(file, "development")
    old, before = await keys.address(deal_key(0)), json.loads(file.path.read_text())
    await keys.rotate_wrapping()
    after = json.loads(file.path.read_text())
    for part in ("ciphertext", "mac"):
        assert before["wrapping"]["crypto"][part] != after["wrapping"]["crypto"][part]
    assert before["seeds"] != after["seeds"]
    opened = LocalKeyProvider.open(file, "development")
    assert await opened.address(deal_key(0)) == old


async def test_signers_that_rotate_at_the_same_time_lose_no_seed(tmp_path: Path) -> None:
    file = Keystore(tmp_path / "keystore.json", PASSPHRASE)
    file.create()
    first, second = (LocalKeyProvider.open(file, "development") for _ in range(2))
    await asyncio.gather(first.rotate_seed(), second.rotate_seed(), first.rotate_wrapping())
    seeds = file.read()
    assert len({seed.get_secret_value() for seed in seeds}) == 3


async def test_keys_that_came_from_no_keystore_cannot_be_rotated(keys: LocalKeyProvider) -> None:
    for rotate in (keys.rotate_seed, keys.rotate_wrapping):
        with pytest.raises(NotAllowed, match="keystore"):
            await rotate()


@pytest.mark.parametrize("spoil", ["swapped", "cut", "not text", "none"])
def test_seeds_that_were_tampered_with_are_refused(
    two_seeds: Path, tmp_path: Path, spoil: str
) -> None:
    content = json.loads(two_seeds.read_text())
    first, second = content["seeds"]
    content["seeds"] = {
        "swapped": [second, first],
        "cut": [first[:-2]],
        "not text": [17],
        "none": [],
    }[spoil]
    with pytest.raises(InvalidConfiguration):
        Keystore(written(tmp_path / "k.json", json.dumps(content).encode()), PASSPHRASE).read()


async def test_the_passphrase_can_come_from_the_environment(
    keystore: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PROVIDER", "local")
    monkeypatch.setenv("DEAL_KEYSTORE_FILE", str(keystore))
    monkeypatch.setenv("DEAL_KEYSTORE_PASSPHRASE", PASSPHRASE.get_secret_value().decode())
    settings = KeyStoreSettings.load()
    assert PASSPHRASE.get_secret_value().decode() not in repr(settings)
    expected = LocalKeyProvider.open(Keystore(keystore, PASSPHRASE), "development")
    async with open_keys(settings, "development") as opened:
        assert await opened.address(TREASURY) == await expected.address(TREASURY)


@pytest.mark.parametrize("given", [{}, {"keystore_file": Path("k.json")}])
async def test_a_missing_setting_of_the_keystore_is_named(given: dict[str, Path]) -> None:
    settings = KeyStoreSettings.model_validate({"key_provider": "local"} | given)
    with pytest.raises(InvalidConfiguration) as caught:
        async with open_keys(settings, "development"):
            pass
    assert caught.value.problem.field == "DEAL_KEYSTORE_PASSPHRASE_FILE"


def test_a_wrong_passphrase_is_refused_without_a_trace_of_it(keystore: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        Keystore(keystore, SecretBytes(b"wrong one")).read()
    problem = caught.value.problem
    assert problem.field == "keystore_passphrase_file"
    assert "wrong one" not in problem.model_dump_json()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o602])
def test_files_open_to_others_are_refused(keystore: Path, tmp_path: Path, mode: int) -> None:
    loose = written(tmp_path / "keystore.json", keystore.read_bytes(), mode)
    with pytest.raises(InvalidConfiguration) as caught:
        Keystore(loose, PASSPHRASE).read()
    assert caught.value.problem.field == "keystore_file"
    assert caught.value.problem.actual == f"mode {mode:04o}"
    with pytest.raises(InvalidConfiguration) as caught:
        read_passphrase(written(tmp_path / "passphrase", b"secret", mode))
    assert caught.value.problem.field == "keystore_passphrase_file"


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_passphrase_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidConfiguration, match="empty"):
        read_passphrase(written(tmp_path / "passphrase", content))


def test_a_passphrase_is_read_without_its_line_end(tmp_path: Path) -> None:
    passphrase = read_passphrase(written(tmp_path / "passphrase", b" two words \n", 0o400))
    assert passphrase.get_secret_value() == b" two words "


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        read_passphrase(tmp_path / "none")
    assert caught.value.problem.value == str(tmp_path / "none")
    with pytest.raises(InvalidConfiguration):
        Keystore(tmp_path / "none", PASSPHRASE).read()
    with pytest.raises(InvalidConfiguration):
        Keystore(tmp_path / "no" / "folder", PASSPHRASE).create()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b'{"version": 4, "crypto": {"kdf": "scrypt"}}', b'{"version": 3}'],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidConfiguration, match="not a keystore"):
        Keystore(written(tmp_path / "keystore.json", content), PASSPHRASE).read()


def test_a_damaged_keystore_is_refused(keystore: Path, tmp_path: Path) -> None:
    content = json.loads(keystore.read_text())
    content["wrapping"]["crypto"]["mac"] = "00" * 32
    damaged = written(tmp_path / "keystore.json", json.dumps(content).encode())
    with pytest.raises(InvalidConfiguration, match="decrypted"):
        Keystore(damaged, PASSPHRASE).read()


def test_a_keystore_of_another_kind_of_secret_is_refused(tmp_path: Path) -> None:
    content = Account.encrypt(b"\x01" * 32, "pw", kdf="scrypt", iterations=2)
    Keystore(
        written(tmp_path / "good.json", json.dumps(content).encode()), SecretBytes(b"pw")
    ).read()
    content["crypto"]["kdf"] = "pbkdf2"
    with pytest.raises(InvalidConfiguration, match="not a keystore"):
        Keystore(written(tmp_path / "k.json", json.dumps(content).encode()), PASSPHRASE).read()


def test_production_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        LocalKeyProvider.open(Keystore(tmp_path / "none", PASSPHRASE), "production")
    assert caught.value.problem.field == "DEAL_ENVIRONMENT"
    with pytest.raises(InvalidConfiguration):
        LocalKeyProvider([SecretBytes(bytes(64))], "production")


def test_the_seed_is_in_no_text_and_no_copy(keys: LocalKeyProvider) -> None:
    (guarded,) = keys._seeds
    with guarded.lent() as secret:
        seed = bytes(bytearray(secret.get_secret_value()))
    for text in (repr(keys), str(keys), f"{keys!r:>40}", repr(keys._seeds)):
        assert seed.hex() not in text
        assert "test" not in text
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="serialised"):
            duplicate(keys)


async def test_signing_logs_nothing(
    keys: LocalKeyProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await keys.sign(deal_key(0), [random_intent(VECTOR)])
    assert not caplog.records


@pytest.mark.parametrize("environment", ["development", "production", None])
def test_init_makes_a_keystore_once_and_prints_the_desks_own_accounts(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    environment: str | None,
) -> None:
    monkeypatch.delenv("DEAL_ENVIRONMENT", raising=False)
    if environment:
        monkeypatch.setenv("DEAL_ENVIRONMENT", environment)
    keystore, passphrase = tmp_path / "k.json", written(tmp_path / "passphrase", b"secret words\n")
    monkeypatch.setenv("KEY_PROVIDER", "local")
    monkeypatch.setenv("DEAL_KEYSTORE_FILE", str(keystore))
    monkeypatch.setenv("DEAL_KEYSTORE_PASSPHRASE_FILE", str(passphrase))
    first = worker.main(["init"])
    if environment != "development":
        assert first == 2
        assert json.loads(capsys.readouterr().err)["field"] == "DEAL_ENVIRONMENT"
        assert not keystore.exists()
        return
    printed = capsys.readouterr().out
    assert first == 0
    accounts = json.loads(printed)
    assert len({Address(accounts["treasury"]), Address(accounts["fee"])}) == 2
    assert worker.main(["init"]) == 0
    assert capsys.readouterr().out == printed
