"""Keys derived from the seeds in an encrypted keystore file; for development only."""

import asyncio
from collections.abc import Sequence
from typing import Final, NoReturn, Self

from pydantic import SecretBytes

from activities.signing.providers.guarded import Guarded
from activities.signing.providers.keystore import Keystore, read_passphrase
from activities.signing.providers.provider import KeyRef
from activities.signing.providers.seeds import (
    address_from,
    seed_of_entropy,
    seed_of_mnemonic,
    sign_from,
)
from activities.signing.providers.settings import Environment, KeySettings, needed
from domain.errors import InvalidConfiguration, NotAllowed, NotFound
from domain.identifiers import Address
from domain.transactions import Intent, SignedTransaction

NAME: Final = "local"


def refuse_in_production(environment: Environment) -> None:
    """Raise `InvalidConfiguration` where seeds in this process's memory are not good enough."""
    if environment == "production":
        raise InvalidConfiguration(
            "the local key provider is for development only",
            field="DEAL_ENVIRONMENT",
            value=environment,
            limit="development",
            next_action="use a key provider that keeps keys in a vault or an HSM",
        )


def named_keystore(settings: KeySettings) -> Keystore:
    """The keystore that the settings name. Raises `InvalidConfiguration`."""
    if settings.keystore_passphrase is not None:
        text = settings.keystore_passphrase.get_secret_value()
        passphrase = SecretBytes(text.encode())
    else:
        variable = "DEAL_KEYSTORE_PASSPHRASE_FILE"
        passphrase = read_passphrase(needed(settings.keystore_passphrase_file, variable, NAME))
    return Keystore(needed(settings.keystore_file, "DEAL_KEYSTORE_FILE", NAME), passphrase)


class LocalKeyProvider:
    """Holds the seeds; each key is derived when it is used and kept by nobody."""

    __slots__ = ("_keystore", "_seeds")
    name = NAME
    deterministic = True

    def __init__(
        self,
        seeds: Sequence[SecretBytes],
        environment: Environment,
        keystore: Keystore | None = None,
    ) -> None:
        """Take the 64 bytes of each generation's BIP-39 seed, and the file they came from if any.

        Raises `InvalidConfiguration` in production.
        """
        refuse_in_production(environment)
        self._seeds = tuple(Guarded(seed) for seed in seeds)
        self._keystore = keystore

    @classmethod
    def open(cls, keystore: Keystore, environment: Environment) -> Self:
        """Read the keystore and stretch its entropy to seeds; takes about a second.

        Raises `InvalidConfiguration` as `Keystore.read` does, and in production.
        """
        refuse_in_production(environment)
        return cls(_stretched(keystore.read()), environment, keystore)

    @classmethod
    def from_mnemonic(cls, mnemonic: SecretBytes, environment: Environment) -> Self:
        """Use the seed of a BIP-39 mnemonic, which cannot be rotated."""
        return cls([seed_of_mnemonic(mnemonic)], environment)

    async def generation(self) -> int:
        """The newest generation."""
        return len(self._seeds)

    async def address(self, ref: KeyRef) -> Address:
        """Return the account of a key. Raises `NotFound` for a generation that is not there."""
        with (await self._seed(ref)).lent() as seed:
            return address_from(seed, ref)

    async def create(self, ref: KeyRef) -> Address:
        """Return the account of a key: all keys of a seed exist."""
        return await self.address(ref)

    async def sign(
        self, ref: KeyRef, intents: Sequence[Intent], *, legacy: bool = False
    ) -> tuple[SignedTransaction, ...]:
        """Sign each intent. Raises `SigningRefused` if one is not from the key's account."""
        with (await self._seed(ref)).lent() as seed:
            return sign_from(seed, ref, intents, legacy=legacy)

    async def rotate_seed(self) -> int:
        """Add a seed to the keystore; takes two seconds."""
        keystore = self._rewritable()
        self._seeds = _guarded(await asyncio.to_thread(keystore.add_seed))
        return len(self._seeds)

    async def rotate_wrapping(self) -> None:
        """Encrypt the keystore anew; takes two seconds."""
        await asyncio.to_thread(self._rewritable().rewrap)

    async def retire(self, ref: KeyRef) -> None:
        """Nothing: what is derived cannot be destroyed. The signer's records refuse the key."""

    async def reinstate(self, ref: KeyRef) -> None:
        """Nothing, as `retire`."""

    async def close(self) -> None:
        """Nothing is open."""

    def __repr__(self) -> str:
        """Nothing but the kind."""
        return f"{type(self).__name__}()"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: that would carry the seeds elsewhere."""
        msg = f"{type(self).__name__} cannot be serialised"
        raise TypeError(msg)

    async def _seed(self, ref: KeyRef) -> Guarded:
        if ref.generation > len(self._seeds) and self._keystore is not None:
            # Another signer on the same keystore may have rotated.
            self._seeds = _guarded(await asyncio.to_thread(self._keystore.read))
        if ref.generation > len(self._seeds):
            raise NotFound(
                f"the keystore has no seed of generation {ref.generation}",
                field="generation",
                value=ref.generation,
                limit=f"1 to {len(self._seeds)}",
                next_action="give the signer the keystore that belongs to its database",
            )
        return self._seeds[ref.generation - 1]

    def _rewritable(self) -> Keystore:
        if self._keystore is None:
            raise NotAllowed(
                "these keys did not come from a keystore, so there is nothing to rotate",
                field="keystore_file",
                limit="a provider opened from a keystore",
                next_action="open a keystore and use its keys",
            )
        return self._keystore


async def open_local(settings: KeySettings, environment: Environment) -> LocalKeyProvider:
    """Open the keystore that the settings name; takes about a second.

    Raises `InvalidConfiguration` for anything wrong with it, and in production.
    """
    refuse_in_production(environment)
    return LocalKeyProvider.open(named_keystore(settings), environment)


def _guarded(entropies: Sequence[SecretBytes]) -> tuple[Guarded, ...]:
    return tuple(Guarded(seed) for seed in _stretched(entropies))


def _stretched(entropies: Sequence[SecretBytes]) -> tuple[SecretBytes, ...]:
    return tuple(seed_of_entropy(entropy) for entropy in entropies)
