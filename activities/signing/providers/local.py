"""Keys derived from the seed in an encrypted keystore file; for development only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Self

from eth_account import Account
from eth_account.hdaccount.deterministic import HDPath
from eth_account.hdaccount.mnemonic import Mnemonic
from pydantic import SecretBytes

from activities.signing.providers.keystore import read_keystore
from activities.signing.providers.provider import KeyPath
from domain.errors import InvalidConfiguration
from domain.identifiers import Address
from domain.transactions import Intent, SignedTransaction

Environment = Literal["development", "production"]


def refuse_in_production(environment: Environment) -> None:
    """Raise `InvalidConfiguration` where a seed in this process's memory is not good enough."""
    if environment == "production":
        raise InvalidConfiguration(
            "the local key provider is for development only",
            field="DEAL_ENVIRONMENT",
            value=environment,
            limit="development",
            next_action="use a key provider that keeps keys in a vault or an HSM",
        )


class LocalKeyProvider:
    """Holds the seed; each key is derived when it is used and kept by nobody.

    Source of the derivation: BIP-39 (no extra passphrase), BIP-32 and BIP-44.
    """

    __slots__ = ("_seed",)

    def __init__(self, seed: SecretBytes, environment: Environment) -> None:
        """Take the 64 bytes of a BIP-39 seed; raise `InvalidConfiguration` in production."""
        refuse_in_production(environment)
        self._seed = seed

    @classmethod
    def open(cls, path: Path, passphrase: SecretBytes, environment: Environment) -> Self:
        """Read the keystore's entropy and stretch it to the seed; takes about a second.

        Raises `InvalidConfiguration` as `read_keystore` does, and in production.
        """
        refuse_in_production(environment)
        entropy = read_keystore(path, passphrase)
        return cls.from_mnemonic(
            SecretBytes(Mnemonic().to_mnemonic(entropy.get_secret_value()).encode()), environment
        )

    @classmethod
    def from_mnemonic(cls, mnemonic: SecretBytes, environment: Environment) -> Self:
        """Use the seed of a BIP-39 mnemonic."""
        seed = Mnemonic.to_seed(mnemonic.get_secret_value().decode())
        return cls(SecretBytes(seed), environment)

    async def address(self, path: KeyPath) -> Address:
        """Return the account of a key."""
        return Address(Account.from_key(self._derive(path)).address)

    async def sign(
        self, path: KeyPath, intents: Sequence[Intent], *, legacy: bool = False
    ) -> tuple[SignedTransaction, ...]:
        """Sign each intent; raise `TypeError` if one is not from the key's account."""
        key = SecretBytes(self._derive(path))
        return tuple(_sign(intent, key, legacy=legacy) for intent in intents)

    def __repr__(self) -> str:
        """Nothing but the kind."""
        return f"{type(self).__name__}()"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: that would carry the seed elsewhere."""
        msg = f"{type(self).__name__} cannot be serialised"
        raise TypeError(msg)

    def _derive(self, path: KeyPath) -> bytes:
        return HDPath(str(path)).derive(self._seed.get_secret_value())


def _sign(intent: Intent, key: SecretBytes, *, legacy: bool) -> SignedTransaction:
    """Sign with libsecp256k1, which gives the low s; the library compares sender and key."""
    fields: dict[str, Any] = {
        "chainId": intent.chain_id,
        "from": str(intent.sender),
        "nonce": intent.nonce,
        "to": str(intent.to),
        "value": intent.value,
        "data": intent.data,
        "gas": intent.gas_limit,
    }
    priced = fields | (_legacy_price(intent) if legacy else _dynamic_price(intent))
    signed = Account.sign_transaction(priced, key.get_secret_value())
    return SignedTransaction(
        intent_id=intent.intent_id,
        transaction_hash=signed.hash.to_0x_hex(),
        raw=signed.raw_transaction.to_0x_hex(),
        fees=intent.fees,
    )


def _dynamic_price(intent: Intent) -> dict[str, Any]:
    return {
        "type": 2,
        "maxFeePerGas": intent.fees.max_fee_per_gas,
        "maxPriorityFeePerGas": intent.fees.max_priority_fee_per_gas,
        "accessList": [],
    }


def _legacy_price(intent: Intent) -> dict[str, Any]:
    return {"gasPrice": intent.fees.max_fee_per_gas}
