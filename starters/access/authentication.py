"""From a credential to a caller: an API key or a token of the identity provider.

Whatever is wrong with a credential, the answer is the same, so that nobody learns which keys or
people there are. Why is logged.
"""

import logging
from typing import TYPE_CHECKING, Final, NoReturn

from domain.errors import Unauthenticated
from domain.identity import Caller, Via
from domain.masking import mask
from starters.access.keys import ApiKey
from starters.access.people import KeyRecord, PeopleReader, Person
from starters.access.refusal import Refused
from workers.runtime.settings import AccessSettings

if TYPE_CHECKING:
    from starters.access.tokens import TokenVerifier

_log: Final = logging.getLogger("deal.access")
_log.addHandler(logging.NullHandler())  # a command's standard error is for its own answer

_NO_HASH: Final = "0" * 64
"""Compared with where there is no key, so that it takes as long."""


class Authenticator:
    """Finds out who a credential belongs to, on one way in."""

    def __init__(self, people: PeopleReader, tokens: "TokenVerifier | None") -> None:
        """Look people up there; without a verifier no token counts."""
        self._people = people
        self._tokens = tokens

    async def authenticate(
        self,
        credential: str,
        *,
        via: Via,
        address: str | None = None,
        request_id: str | None = None,
    ) -> Caller:
        """Return whose credential it is. Raises `Unauthenticated` and `Unavailable`."""
        try:
            key = ApiKey.parse(credential)
            if key is not None:
                person, record = await self._by_key(key)
                named, scopes = f"key:{record.key_id}", record.scopes
            else:
                person, named = await self._by_token(credential)
                scopes = None
        except Refused as refused:
            _refuse(str(refused), via, address)
        return Caller(
            principal=person.principal,
            via=via,
            address=address,
            credential=named,
            scopes=None if scopes is None else frozenset(scopes),
            request_id=request_id,
        )

    async def _by_key(self, key: ApiKey) -> tuple[Person, KeyRecord]:
        record = await self._people.held(key.key_id)
        same = key.has_hash(_NO_HASH if record is None else record.hash)
        if record is None or not same:
            raise Refused(f"key {key.key_id} is none of ours")
        if record.revoked_at is not None:
            raise Refused(f"key {key.key_id} is revoked")
        if record.expired:
            raise Refused(f"key {key.key_id} has expired")
        person = _enabled(record.holder, record.principal_id)
        if record.unnoted:
            await self._people.note_use(record.key_id)
        return person, record

    async def _by_token(self, credential: str) -> tuple[Person, str]:
        if self._tokens is None:
            raise Refused("no API key, and no identity provider is configured")
        token = await self._tokens.verify(credential)
        person = _enabled(await self._people.with_subject(token.subject), token.subject)
        return person, f"token:{token.token_id}"


def authenticator(settings: AccessSettings, people: PeopleReader) -> Authenticator:
    """Make one as the settings say."""
    oidc = settings.oidc()
    if oidc is None:
        return Authenticator(people, None)
    # What reads tokens is a fifth of a short command's time, and most callers have an API key.
    from starters.access.jwks import KeySet  # noqa: PLC0415 - see above
    from starters.access.tokens import TokenVerifier  # noqa: PLC0415 - see above

    keys = KeySet(oidc.jwks_url, settings.oidc_cache_seconds)
    verifier = TokenVerifier(oidc.issuer, oidc.audience, keys, settings.oidc_leeway_seconds)
    return Authenticator(people, verifier)


def _enabled(person: Person | None, name: str) -> Person:
    if person is None:
        raise Refused(f"nobody here is {name}")
    if person.disabled_at is not None:
        raise Refused(f"{person.principal_id} is disabled")
    return person


def _refuse(reason: str, via: Via, address: str | None) -> NoReturn:
    _log.warning("unauthenticated: %s (via %s from %s)", mask(reason), via, address or "here")
    raise Unauthenticated(
        "the credential does not count",
        field="credential",
        limit="an API key or a token that is valid now, of somebody who is known here",
        next_action="use another one, or ask an admin; the log says why",
    )
