"""The local key provider: where its seed is kept, which keys come of it, what it signs."""

import copy
import json
import logging
import pickle
import secrets
from pathlib import Path

import pytest
import rlp
from eth_account import Account
from eth_keys.constants import SECPK1_N
from hexbytes import HexBytes
from pydantic import SecretBytes

from activities.signing.providers.keystore import Keystore, read_passphrase
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.providers.provider import FEE, TREASURY, KeyPurpose, KeyRef, deal_key
from domain.errors import InvalidConfiguration, SigningRefused
from domain.identifiers import Address, ChainId
from domain.transactions import Fees, Intent
from tests.activities.signing.samples import MNEMONIC, STRANGER
from workers import signer as worker

PASSPHRASE = SecretBytes(b"correct horse battery staple")
VECTOR = Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")


def intent(sender: Address, number: int = 0) -> Intent:
    return Intent(
        intent_id=f"i{number}",
        chain_id=ChainId(1 + secrets.randbelow(2**53)),
        sender=sender,
        nonce=secrets.randbelow(2**63),
        to=STRANGER,
        value=secrets.randbelow(2**128),
        data="0x" + secrets.token_bytes(secrets.randbelow(600)).hex(),
        gas_limit=21_000 + secrets.randbelow(10**6),
        fees=Fees(
            max_fee_per_gas=secrets.randbelow(2**40), max_priority_fee_per_gas=secrets.randbelow(9)
        ),
        purpose="",
    )


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keystore.json"
    Keystore(path, PASSPHRASE).create()
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


async def test_signatures_are_low_s_and_recover_to_the_account(keys: LocalKeyProvider) -> None:
    for number in range(200):
        path = deal_key(number)
        sender = await keys.address(path)
        (signed,) = await keys.sign(path, [intent(sender, number)])
        raw = HexBytes(signed.raw)
        fields = _decoded(raw)
        assert int(fields["s"]) <= SECPK1_N // 2
        assert Account.recover_transaction(raw) == sender
        assert signed.transaction_hash == _hash(raw)


async def test_for_a_legacy_chain_transactions_are_of_type_0_for_that_chain_alone(
    keys: LocalKeyProvider,
) -> None:
    one = intent(VECTOR)
    (signed,) = await keys.sign(deal_key(0), [one], legacy=True)
    raw = HexBytes(signed.raw)
    nonce, price, gas, to, value, data, v, _, s = rlp.decode(bytes(raw))
    numbers = [int.from_bytes(part) for part in (nonce, price, gas, value)]
    assert numbers == [one.nonce, one.fees.max_fee_per_gas, one.gas_limit, one.value]
    assert (to, data) == (bytes.fromhex(one.to[2:]), bytes.fromhex(one.data[2:]))
    assert int.from_bytes(v) - 35 in {2 * one.chain_id, 2 * one.chain_id + 1}
    assert int.from_bytes(s) <= SECPK1_N // 2
    assert Account.recover_transaction(raw) == VECTOR
    assert signed.transaction_hash == _hash(raw)
    assert (signed,) == await keys.sign(deal_key(0), [one], legacy=True)


async def test_signatures_are_deterministic(keys: LocalKeyProvider) -> None:
    one = intent(VECTOR)
    assert await keys.sign(deal_key(0), [one]) == await keys.sign(deal_key(0), [one])


async def test_nothing_is_signed_for_another_sender(keys: LocalKeyProvider) -> None:
    with pytest.raises(SigningRefused):
        await keys.sign(deal_key(0), [intent(STRANGER)])


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
    (secret,) = keys._seeds
    seed = secret.get_secret_value()
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
    await keys.sign(deal_key(0), [intent(VECTOR)])
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


def _decoded(raw: HexBytes) -> dict[str, int]:
    from eth_account.typed_transactions.typed_transaction import TypedTransaction

    return TypedTransaction.from_bytes(raw).as_dict()


def _hash(raw: HexBytes) -> str:
    from eth_hash.auto import keccak

    return "0x" + keccak(bytes(raw)).hex()
