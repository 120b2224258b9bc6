"""Keys derived from seeds that Vault keeps and encrypts; one is here only while it is used."""

from collections.abc import Sequence
from typing import Final, NoReturn, Self

from activities.signing.providers.provider import KeyRef
from activities.signing.providers.sealed import SealedSeeds
from activities.signing.providers.seeds import address_from, sign_from
from activities.signing.providers.settings import Environment, KeySettings, needed
from activities.vault.credentials import ROLE_ID_SETTING, SECRET_ID_SETTING, VaultLogin
from activities.vault.kv import KvPath
from activities.vault.session import VaultSession
from activities.vault.transit import TransitKey
from domain.identifiers import Address
from domain.transactions import Intent, SignedTransaction

NAME: Final = "vault"
TRANSIT_KEY_SETTING: Final = "DEAL_VAULT_TRANSIT_KEY"
SEED_PATH_SETTING: Final = "DEAL_VAULT_SEED_PATH"


class VaultKeyProvider:
    """Asks Vault for the seed at each use: no Vault, no signature.

    Every method that asks Vault raises `Unavailable` while it is away, sealed, a standby or limits
    our rate, and `InvalidConfiguration` where credentials, policies or what is kept are wrong.
    Nothing has to be restarted when that is over.
    """

    __slots__ = ("_seeds", "_session")
    name = NAME
    deterministic = True

    def __init__(self, session: VaultSession, seeds: SealedSeeds) -> None:
        """Take the session, which is closed with this."""
        self._session = session
        self._seeds = seeds

    @classmethod
    def of(cls, login: VaultLogin, transit_key: str, seed_path: str) -> Self:
        """Prepare; nothing is asked of Vault yet.

        Both places are written ``mount/name``. Raises `InvalidConfiguration` if one is not.
        """
        session = VaultSession(login)
        place = KvPath.parse(transit_key, setting=TRANSIT_KEY_SETTING)
        key = TransitKey(session, place.path, place.mount)
        path = KvPath.parse(seed_path, setting=SEED_PATH_SETTING)
        return cls(session, SealedSeeds(session, key, path))

    async def generation(self) -> int:
        """The newest generation. Raises `NotFound` before the first seed was made."""
        return await self._seeds.newest()

    async def address(self, ref: KeyRef) -> Address:
        """Return the account of a key. Raises `NotFound` for a generation that is not there."""
        async with self._seeds.opened(ref.generation) as seed:
            return address_from(seed, ref)

    async def create(self, ref: KeyRef) -> Address:
        """Return the account of a key: all keys of a seed exist."""
        return await self.address(ref)

    async def sign(
        self, ref: KeyRef, intents: Sequence[Intent], *, legacy: bool = False
    ) -> tuple[SignedTransaction, ...]:
        """Sign each intent. Raises `SigningRefused` if one is not from the key's account."""
        async with self._seeds.opened(ref.generation) as seed:
            return sign_from(seed, ref, intents, legacy=legacy)

    async def rotate_seed(self) -> int:
        """Make a new seed for the keys to come; the first one where there is none yet."""
        return await self._seeds.add()

    async def rotate_wrapping(self) -> None:
        """Rotate the transit key and encrypt all seeds anew, inside Vault."""
        await self._seeds.rewrap()

    async def retire(self, ref: KeyRef) -> None:
        """Nothing: what is derived cannot be destroyed. The signer's records refuse the key."""

    async def reinstate(self, ref: KeyRef) -> None:
        """Nothing, as `retire`."""

    async def close(self) -> None:
        """Give the token back to Vault."""
        await self._session.close()

    def __repr__(self) -> str:
        """Nothing but the kind."""
        return f"{type(self).__name__}()"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: a copy would share the session and close it."""
        msg = f"{type(self).__name__} cannot be serialised"
        raise TypeError(msg)


async def open_vault(settings: KeySettings, environment: Environment) -> VaultKeyProvider:  # noqa: ARG001 - as all of them are opened
    """Open the seeds that the settings name. Vault need not be there yet.

    Raises `InvalidConfiguration` for a setting that is missing or wrong.
    """
    login = VaultLogin(
        address=needed(settings.vault_addr, "VAULT_ADDR", NAME),
        role_id_file=needed(settings.vault_role_id_file, ROLE_ID_SETTING, NAME),
        secret_id_file=needed(settings.vault_secret_id_file, SECRET_ID_SETTING, NAME),
        namespace=settings.vault_namespace,
        ca_file=settings.vault_cacert,
    )
    return VaultKeyProvider.of(
        login,
        needed(settings.vault_transit_key, TRANSIT_KEY_SETTING, NAME),
        needed(settings.vault_seed_path, SEED_PATH_SETTING, NAME),
    )
