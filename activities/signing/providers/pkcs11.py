"""Keys in an HSM, by PKCS#11: a pair for each key, made in there, which never leaves it.

Signatures come back as bare r and s, different each time; `activities.signing.transactions` makes
transactions of them. A pair is found by its label, its private half signs only while ``CKA_SIGN``
is true, which is how a key is retired.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, Session
from pkcs11.exceptions import AttributeReadOnly
from pkcs11.util.ec import encode_named_curve_parameters

from activities.signing.providers.hsm import Token
from activities.signing.providers.provider import FIRST_GENERATION, KeyRef
from activities.signing.providers.settings import Environment, KeySettings, needed
from activities.signing.transactions import Signature, account_of, sign_each
from domain.errors import (
    InvalidConfiguration,
    NotAllowed,
    NotFound,
    SigningRefused,
    Unavailable,
)
from domain.identifiers import Address
from domain.transactions import Intent, SignedTransaction

NAME: Final = "pkcs11"

_CURVE: Final = "secp256k1"
_POINT_BYTES: Final = 65
_UNCOMPRESSED: Final = 4
_APPLICATION: Final = "deal-orchestrator"
_GENERATION: Final = "generation-"
_ANSWER_SECONDS: Final = 10
_REMEMBERED: Final = 10_000

_PRIVATE: Final = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.SIGN: True,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
    Attribute.DERIVE: False,
}
_PUBLIC: Final = {Attribute.PRIVATE: False, Attribute.VERIFY: True}
_KEPT: Final = (Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Pair:
    """A pair as found in the session of login number `login`."""

    private: Any
    address: Address
    usable: bool
    login: int


class Pkcs11KeyProvider:
    """Talks to the token in a thread of its own, one call after the other."""

    name = NAME
    deterministic = False

    def __init__(self, token: Token) -> None:
        """Use this token; it is logged in to when it is first needed."""
        self._token = token
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pkcs11")
        self._pairs: dict[str, _Pair] = {}
        self._generation: int | None = None

    async def generation(self) -> int:
        """The newest generation, as the token's own records have it."""
        if self._generation is None:
            self._generation = await self._call(_read_generation)
        return self._generation

    async def address(self, ref: KeyRef) -> Address:
        """Return the account of a pair. Raises `NotFound` if the token has none of that label."""
        return (await self._call(lambda session: self._pair(session, ref))).address

    async def create(self, ref: KeyRef) -> Address:
        """Make the pair in the token unless it is there."""
        return (await self._call(lambda session: self._created(session, ref))).address

    async def sign(
        self, ref: KeyRef, intents: Sequence[Intent], *, legacy: bool = False
    ) -> tuple[SignedTransaction, ...]:
        """Sign each intent.

        Raises `SigningRefused` if one is not from the key's account or the key is retired, and
        `Unavailable` for a signature that is not the key's, which goes nowhere.
        """
        return await self._call(lambda session: self._signed(session, ref, intents, legacy=legacy))

    async def rotate_seed(self) -> int:
        """Begin a new generation of labels: no pair comes of a seed, so no more has to change."""
        self._generation = await self._call(_add_generation)
        return self._generation

    async def rotate_wrapping(self) -> None:
        """Raise `NotAllowed`: the token encrypts what it keeps by itself."""
        raise NotAllowed(
            "an HSM keeps its own wrapping key",
            field="KEY_PROVIDER",
            value=NAME,
            limit="local or vault",
            next_action="rotate it by the means of the HSM's maker, if there are any",
        )

    async def retire(self, ref: KeyRef) -> None:
        """Take the right to sign from the pair; it stays in the token."""
        await self._call(lambda session: self._set_usable(session, ref, usable=False))

    async def reinstate(self, ref: KeyRef) -> None:
        """Give a retired pair the right to sign back."""
        await self._call(lambda session: self._set_usable(session, ref, usable=True))

    async def close(self) -> None:
        """Log out of the token."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._token.close)
        self._thread.shutdown(wait=False)

    async def _call(self, operation: Callable[[Session], T]) -> T:
        """Run an operation in the token's thread. Raises `Unavailable` if it takes too long.

        What a call that was given up still brings is dropped.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await loop.run_in_executor(self._thread, self._token.run, operation)
        except TimeoutError as error:
            raise Unavailable(
                "the HSM takes too long to answer",
                field="DEAL_PKCS11_TOKEN",
                limit=f"{_ANSWER_SECONDS} s",
                next_action="wait, or look at the HSM and the way to it",
            ) from error

    # Below, in the token's thread.

    def _signed(
        self, session: Session, ref: KeyRef, intents: Sequence[Intent], *, legacy: bool
    ) -> tuple[SignedTransaction, ...]:
        pair = self._pair(session, ref)
        for intent in intents:
            if intent.sender != pair.address:
                raise _refused("the transaction is not from the key's account", intent, pair)
        if not pair.usable:
            raise _refused(f"the key {ref.label} is retired", intents[0], pair)

        def sign(digest: bytes) -> Signature:
            return Signature.from_bytes(pair.private.sign(digest, mechanism=Mechanism.ECDSA))

        try:
            return sign_each(intents, sign, legacy=legacy)
        except SigningRefused as error:
            # The sender is right, so the signature is not: nothing of this session is believed.
            self._token.forget()
            raise Unavailable(
                "the HSM gave a signature that is not by the key it was asked for",
                field="DEAL_PKCS11_TOKEN",
                value=ref.label,
                next_action="it was dropped and is asked for again; if it goes on, look at the HSM",
            ) from error

    def _pair(self, session: Session, ref: KeyRef) -> _Pair:
        """Find a pair, or remember it from this same session."""
        known = self._pairs.get(ref.label)
        if known is not None and known.login == self._token.logins:
            return known
        private = _only(session, ObjectClass.PRIVATE_KEY, ref)
        public = _only(session, ObjectClass.PUBLIC_KEY, ref)
        if private is None or public is None:
            raise NotFound(
                "the HSM has no such key",
                field="key",
                value=ref.label,
                limit="a pair of that label, private and public",
                next_action="give the signer the token that belongs to its database",
            )
        for attribute in _KEPT:
            if not private[attribute]:
                raise _not_kept(ref, attribute)
        pair = _Pair(
            private, _address(public, ref), bool(private[Attribute.SIGN]), self._token.logins
        )
        if len(self._pairs) >= _REMEMBERED:
            self._pairs.clear()
        self._pairs[ref.label] = pair
        return pair

    def _created(self, session: Session, ref: KeyRef) -> _Pair:
        if _only(session, ObjectClass.PRIVATE_KEY, ref) is None:
            for half in _labelled(session, ObjectClass.PUBLIC_KEY, ref):
                half.destroy()  # of a pair that was never finished
            curve = session.create_domain_parameters(
                KeyType.EC,
                {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVE)},
                local=True,
            )
            curve.generate_keypair(
                store=True,
                label=ref.label,
                id=ref.label.encode(),
                private_template=_PRIVATE,
                public_template=_PUBLIC,
            )
        return self._pair(session, ref)

    def _set_usable(self, session: Session, ref: KeyRef, *, usable: bool) -> None:
        pair = self._pair(session, ref)
        try:
            pair.private[Attribute.SIGN] = usable
        except AttributeReadOnly as error:
            raise NotAllowed(
                "the HSM does not let keys be retired",
                field="key",
                value=ref.label,
                limit="CKA_SIGN can be changed",
                next_action="let the token's policy allow it; until then the signer's records "
                "alone refuse the key",
            ) from error
        # What a key can do is part of how the library made it: it has to be found anew.
        del self._pairs[ref.label]


async def open_pkcs11(settings: KeySettings, environment: Environment) -> Pkcs11KeyProvider:  # noqa: ARG001 - as all providers are opened
    """Log in to the token that the settings name; one that is away may come later.

    Raises `InvalidConfiguration` for a setting that is missing or wrong.
    """
    provider = Pkcs11KeyProvider(
        Token(
            needed(settings.pkcs11_module, "DEAL_PKCS11_MODULE", NAME),
            needed(settings.pkcs11_token, "DEAL_PKCS11_TOKEN", NAME),
            needed(settings.pkcs11_pin_file, "DEAL_PKCS11_PIN_FILE", NAME),
        )
    )
    try:
        await provider.generation()
    except Unavailable:
        return provider
    except InvalidConfiguration:
        await provider.close()
        raise
    return provider


def _labelled(session: Session, kind: ObjectClass, ref: KeyRef) -> list[Any]:
    # Read to the end: a search that is left open is in the way of the next one.
    return list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: ref.label}))


def _only(session: Session, kind: ObjectClass, ref: KeyRef) -> Any:  # noqa: ANN401 - a key of some kind
    found = _labelled(session, kind, ref)
    if len(found) > 1:
        raise InvalidConfiguration(
            "the HSM has more than one key of the same label",
            field="key",
            value=ref.label,
            limit="one",
            actual=len(found),
            next_action="find out who made the other, and which one the account belongs to",
        )
    return found[0] if found else None


def _address(public: Any, ref: KeyRef) -> Address:  # noqa: ANN401 - a key of the library
    """The account of a public key, whose point may or may not be wrapped as an octet string."""
    point: bytes = public[Attribute.EC_POINT][-_POINT_BYTES:]
    curve = public[Attribute.EC_PARAMS]
    if (
        len(point) != _POINT_BYTES
        or point[0] != _UNCOMPRESSED
        or curve != encode_named_curve_parameters(_CURVE)
    ):
        raise InvalidConfiguration(
            "the HSM's key is of another curve",
            field="key",
            value=ref.label,
            limit=_CURVE,
            next_action="find out who made it; the signer makes its own",
        )
    return account_of(point)


def _read_generation(session: Session) -> int:
    found = [_number(kept[Attribute.LABEL]) for kept in _generations(session)]
    return max(found, default=FIRST_GENERATION)


def _add_generation(session: Session) -> int:
    number = _read_generation(session) + 1
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.DATA,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: True,
            Attribute.APPLICATION: _APPLICATION,
            Attribute.LABEL: f"{_GENERATION}{number}",
            Attribute.VALUE: str(number).encode(),
        }
    )
    return number


def _generations(session: Session) -> list[Any]:
    template = {Attribute.CLASS: ObjectClass.DATA, Attribute.APPLICATION: _APPLICATION}
    return list(session.get_objects(template))


def _number(label: str) -> int:
    digits = label.removeprefix(_GENERATION)
    return int(digits) if digits.isdigit() else FIRST_GENERATION


def _not_kept(ref: KeyRef, attribute: Attribute) -> InvalidConfiguration:
    return InvalidConfiguration(
        "the HSM's key can be taken out of it, or could once",
        field="key",
        value=ref.label,
        limit=f"{attribute.name} is true",
        actual="false",
        next_action="find out who put it there; the signer makes its own",
    )


def _refused(message: str, intent: Intent, pair: _Pair) -> SigningRefused:
    return SigningRefused(
        message,
        field="sender",
        value=intent.sender,
        limit=pair.address,
        next_action="nothing was signed: find out why this key was asked to sign",
    )
