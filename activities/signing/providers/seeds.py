"""Keys derived from a seed, for the providers that keep one: each is there while it is used.

Source of the derivation: BIP-39 (no extra passphrase), BIP-32 and BIP-44.
"""

from collections.abc import Sequence

from coincurve import PrivateKey
from eth_account.hdaccount.deterministic import HDPath
from eth_account.hdaccount.mnemonic import Mnemonic
from pydantic import SecretBytes

from activities.signing.providers.provider import KeyRef
from activities.signing.transactions import Signature, account_of, sign_each
from domain.identifiers import Address
from domain.transactions import Intent, SignedTransaction

ENTROPY_BYTES = 32


def seed_of_entropy(entropy: SecretBytes) -> SecretBytes:
    """Stretch entropy to the 64 bytes of a BIP-39 seed; takes milliseconds."""
    return seed_of_mnemonic(
        SecretBytes(Mnemonic().to_mnemonic(entropy.get_secret_value()).encode())
    )


def seed_of_mnemonic(mnemonic: SecretBytes) -> SecretBytes:
    """The seed of a mnemonic's words."""
    return SecretBytes(Mnemonic.to_seed(mnemonic.get_secret_value().decode()))


def address_from(seed: SecretBytes, ref: KeyRef) -> Address:
    """The account of the seed's key."""
    return account_of(_derive(seed, ref).public_key.format(compressed=False))


def sign_from(
    seed: SecretBytes, ref: KeyRef, intents: Sequence[Intent], *, legacy: bool = False
) -> tuple[SignedTransaction, ...]:
    """Sign with the seed's key, deterministically (RFC 6979).

    Raises `SigningRefused` if an intent's sender is not the key's account.
    """
    key = _derive(seed, ref)

    def sign(digest: bytes) -> Signature:
        return Signature.from_bytes(key.sign_recoverable(digest, hasher=None))

    return sign_each(intents, sign, legacy=legacy)


def _derive(seed: SecretBytes, ref: KeyRef) -> PrivateKey:
    return PrivateKey(HDPath(ref.path).derive(seed.get_secret_value()))
