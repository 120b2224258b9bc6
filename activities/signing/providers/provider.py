"""What the signer asks of a key store; the keys themselves never come out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from domain.identifiers import Address
from domain.transactions import Intent, SignedTransaction

FIRST_GENERATION: Final = 1
_MAX_INDEX: Final = 2**31 - 1


class KeyPurpose(StrEnum):
    """What a key is for; each purpose is a BIP-44 account of its own."""

    DEAL = "deal"
    TREASURY = "treasury"
    FEE = "fee"


_ACCOUNTS: Final = {KeyPurpose.DEAL: 0, KeyPurpose.TREASURY: 1, KeyPurpose.FEE: 2}


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Which key. `generation` counts the seeds: old ones stay, so that old deals can unwind."""

    purpose: KeyPurpose
    index: int
    generation: int = FIRST_GENERATION

    def __post_init__(self) -> None:
        """Raise `ValueError` for an index that BIP-32 has no key for, or no such generation."""
        if not 0 <= self.index <= _MAX_INDEX:
            msg = f"{self.index}: a key's index is 0 to 2^31 - 1"
            raise ValueError(msg)
        if self.generation < FIRST_GENERATION:
            msg = f"{self.generation}: generations are counted from {FIRST_GENERATION}"
            raise ValueError(msg)

    @property
    def path(self) -> str:
        """Its place in the tree of BIP-44, in the notation of BIP-32."""
        return f"m/44'/60'/{_ACCOUNTS[self.purpose]}'/0/{self.index}"

    @property
    def label(self) -> str:
        """Its name where keys have names: purpose, generation, index."""
        return f"{self.purpose}-{self.generation}-{self.index}"


TREASURY: Final = KeyRef(KeyPurpose.TREASURY, 0)
"""Funds deals and is paid back. Seeds rotate, the treasury does not move with them."""

FEE: Final = KeyRef(KeyPurpose.FEE, 0)
"""Pays the gas of what people have approved; nothing else is ever in it."""


def deal_key(index: int, generation: int = FIRST_GENERATION) -> KeyRef:
    """The key of the deal that was given this index, of the seed of that time."""
    return KeyRef(KeyPurpose.DEAL, index, generation)


class KeyProvider(Protocol):
    """Keeps the keys. It signs transactions, never bare digests.

    Every method raises `Unavailable` while the key store is away.
    """

    @property
    def name(self) -> str:
        """The kind of key store, as ``KEY_PROVIDER`` has it."""
        ...

    @property
    def deterministic(self) -> bool:
        """Whether the same transaction always gets the same signature (RFC 6979)."""
        ...

    async def generation(self) -> int:
        """The newest generation, which new deals get."""
        ...

    async def address(self, ref: KeyRef) -> Address:
        """Return the account of a key; raise `NotFound` if the key store does not have it."""
        ...

    async def create(self, ref: KeyRef) -> Address:
        """Have the key exist and return its account; the same one when asked again."""
        ...

    async def sign(
        self, ref: KeyRef, intents: Sequence[Intent], *, legacy: bool = False
    ) -> tuple[SignedTransaction, ...]:
        """Sign each intent as an EIP-1559 transaction, with the low s.

        For a chain without EIP-1559 (`legacy`) as one of type 0 with its chain id (EIP-155), whose
        gas price is the intent's maximum fee. Raises `SigningRefused` if an intent's sender is not
        the key's account or the key is retired, and `NotFound` if there is no such key.
        """
        ...

    async def rotate_seed(self) -> int:
        """Begin a new generation for the keys to come, and return it; the older ones stay."""
        ...

    async def rotate_wrapping(self) -> None:
        """Encrypt the seeds under a new key; the keys do not change.

        Raises `NotAllowed` where the key store does that by itself.
        """
        ...

    async def retire(self, ref: KeyRef) -> None:
        """Make the key unusable, in a way that `reinstate` can take back; may be repeated."""
        ...

    async def reinstate(self, ref: KeyRef) -> None:
        """Make a retired key usable again; may be repeated."""
        ...

    async def close(self) -> None:
        """Let go of the key store."""
        ...
