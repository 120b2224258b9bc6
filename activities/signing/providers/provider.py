"""What the signer asks of a key store; the keys themselves never come out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from domain.identifiers import Address
from domain.transactions import Intent, SignedTransaction

_MAX_INDEX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class KeyPath:
    """A key's place in the tree of BIP-44: ``m/44'/60'/account'/0/index``."""

    account: int
    index: int

    def __post_init__(self) -> None:
        """Raise `ValueError` for numbers that BIP-32 has no key for."""
        if not (0 <= self.account <= _MAX_INDEX and 0 <= self.index <= _MAX_INDEX):
            msg = f"{self.account}, {self.index}: a key path's numbers are 0 to 2^31 - 1"
            raise ValueError(msg)

    def __str__(self) -> str:
        """The path in the notation of BIP-32."""
        return f"m/44'/60'/{self.account}'/0/{self.index}"


TREASURY: Final = KeyPath(account=1, index=0)
"""The treasury is in an account of its own, so no deal's key tells anything about it."""


def deal_path(index: int) -> KeyPath:
    """The key of the deal that was given this index."""
    return KeyPath(account=0, index=index)


class KeyProvider(Protocol):
    """Keeps the keys. It signs transactions, never bare digests."""

    async def address(self, path: KeyPath) -> Address:
        """Return the account of a key; raise `Unavailable` while the key store is away."""
        ...

    async def sign(
        self, path: KeyPath, intents: Sequence[Intent], *, legacy: bool = False
    ) -> tuple[SignedTransaction, ...]:
        """Sign each intent as an EIP-1559 transaction, deterministically (RFC 6979), low s.

        For a chain without EIP-1559 (`legacy`) as one of type 0 with its chain id (EIP-155), whose
        gas price is the intent's maximum fee. Every intent's sender must be the key's account.
        Raises `Unavailable` while the key store is away.
        """
        ...
