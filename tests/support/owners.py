"""The owners of the local chains' Safe, who sign as `deal sign` does."""

from __future__ import annotations

from typing import Final

from coincurve import PrivateKey
from eth_account import Account

from deploy.chain.governance import OWNERS
from domain.identifiers import Address

_MNEMONIC: Final = "test test test test test test test test test test test junk"
_FIRST_OWNER: Final = 7


def _key(index: int) -> bytes:
    Account.enable_unaudited_hdwallet_features()
    return bytes(Account.from_mnemonic(_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}").key)


KEYS: Final[dict[Address, bytes]] = {
    Address(owner): _key(_FIRST_OWNER + number) for number, owner in enumerate(OWNERS)
}
"""Their keys, which everybody knows."""


def sign(owner: Address, digest: str) -> str:
    """The owner's signature over a hash, both 0x-hexadecimal."""
    return sign_with(KEYS[owner], digest)


def sign_with(key: bytes, digest: str) -> str:
    """A signature by any key."""
    raw = PrivateKey(key).sign_recoverable(bytes.fromhex(digest[2:]), hasher=None)
    return "0x" + (raw[:64] + bytes([raw[64] + 27])).hex()
