"""One process's session with Vault: logged in, renewed in time, and back after every outage."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import hvac
import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter

from activities.vault.answers import (
    BAD_REQUEST,
    FORBIDDEN,
    NOT_FOUND,
    AnswerAdapter,
    VaultAnswer,
    away,
)
from activities.vault.credentials import SECRET_ID_SETTING, VaultLogin
from domain.errors import DealError, InvalidConfiguration

_SILENCE_SECONDS: Final = 5
"""That Vault may take to accept a connection, or to say something."""
_WHOLE_SECONDS: Final = 10.0
"""For one request, everything included; an activity that signs has 30."""
_CONNECTIONS: Final = 4
_RENEW_AFTER: Final = 2 / 3
"""Of a token's life. Whoever does not come back before its end logs in anew."""
_TOO_LATE: Final = 0.95
"""Of a token's life: too near its end to be renewed."""

T = TypeVar("T")
Work = Callable[[hvac.Client], T]
"""A request, made by hvac; it runs in a thread, with a client that is logged in."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A token's life, in seconds of the monotonic clock; `lifetime` 0 does not end."""

    token: SecretStr
    began: float
    lifetime: float
    renewable: bool

    @property
    def age(self) -> float:
        """How long it has been ours."""
        return time.monotonic() - self.began

    @property
    def fresh(self) -> bool:
        """Whether nothing has to be done about it yet."""
        return not self.lifetime or self.age < self.lifetime * _RENEW_AFTER

    @property
    def alive(self) -> bool:
        """Whether it could still be renewed."""
        return self.age < self.lifetime * _TOO_LATE


class VaultSession:
    """Runs requests against Vault off the event loop, over pooled connections.

    What passes by itself (an outage, a seal, a rate limit) is raised as `Unavailable`, and the next
    request that is tried finds Vault again: nothing has to be restarted. A token that Vault no
    longer takes, for whatever reason, is replaced by a new login, once for each request.
    """

    def __init__(self, login: VaultLogin) -> None:
        """Prepare; nothing is asked of Vault before the first request."""
        self._login = login
        self._client = _client(login)
        # Logs in without a token, while others still work with the one before.
        self._at_the_door = _client(login)
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="vault")
        self._logging_in = asyncio.Lock()
        self._lease: Lease | None = None
        self._not_before = 0.0

    @property
    def address(self) -> str:
        """Where Vault is, for what errors say."""
        return self._login.address

    async def run(self, work: Work[T], *, doing: str) -> T:
        """Make one request, logged in.

        Args:
            work: makes it, with hvac.
            doing: what it is for, to follow "Vault does not let us".

        Raises:
            VaultAnswer: Vault refuses the request itself (400, 404): what that means is known to
                whoever asks.
            Unavailable: Vault does not answer, is sealed or a standby, or limits our rate.
            InvalidConfiguration: the credentials, policies or certificates do not allow it.

        """
        lease = await self._usable()
        try:
            return await self._request(work)
        except VaultAnswer as answer:
            if answer.status != FORBIDDEN:
                raise self._of(answer, doing) from None
        # The token was revoked or has expired, or its policies were others when it was given.
        await self._replace(lease)
        try:
            return await self._request(work)
        except VaultAnswer as answer:
            if answer.status == FORBIDDEN and answer.says("invalid token"):
                raise self._away("Vault ends our tokens at once", "invalid token") from None
            raise self._of(answer, doing) from None

    async def close(self) -> None:
        """Give the token back and let go of the connections."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(VaultAnswer, DealError):  # it ends by itself
                await self._request(lambda client: client.auth.token.revoke_self())
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in (self._client, self._at_the_door):
            client.adapter.close()

    def __repr__(self) -> str:
        """Nothing but where it goes."""
        return f"{type(self).__name__}({self.address})"

    async def _usable(self) -> Lease:
        """The lease to work under: the present one, renewed, or a new one."""
        if self._lease is not None and self._lease.fresh:
            return self._lease
        async with self._logging_in:
            lease = self._lease
            if lease is not None and lease.fresh:
                return lease
            if lease is not None and lease.renewable and lease.alive:
                lease = await self._renewed(lease)
                if lease is not None and lease.fresh:
                    return lease
            return await self._log_in()

    async def _replace(self, lease: Lease) -> None:
        async with self._logging_in:
            if self._lease is None or self._lease is lease:  # else somebody has logged in since
                await self._log_in()

    async def _renewed(self, lease: Lease) -> Lease | None:
        """Renew; None if that is not granted, or not for long: the token nears its last end."""
        try:
            answer = await self._request(lambda client: client.auth.token.renew_self())
        except VaultAnswer:
            return None  # a login says better what is wrong, if anything is
        renewed = _lease(answer)
        if renewed.lifetime < lease.lifetime * (1 - _RENEW_AFTER):
            return None
        # The next renewal is due by the life that was granted now, which may be a shorter one.
        self._lease = renewed
        return renewed

    async def _log_in(self) -> Lease:
        role, secret = self._login.role_id(), self._login.secret_id()
        self._lease = None

        def log_in(client: hvac.Client) -> Any:  # noqa: ANN401 - hvac is not typed
            return client.auth.approle.login(
                role.get_secret_value(),
                secret.get_secret_value(),
                use_token=False,
                mount_point=self._login.mount,
            )

        try:
            self._lease = _lease(await self._request(log_in, self._at_the_door))
        except VaultAnswer as answer:
            if answer.status in (BAD_REQUEST, FORBIDDEN, NOT_FOUND):
                raise self._unknown_role(answer) from None
            raise self._of(answer, "log in") from None
        self._client.token = self._lease.token.get_secret_value()
        return self._lease

    async def _request(self, work: Work[T], client: hvac.Client | None = None) -> T:
        """One request within its time, unless Vault has asked us to keep away until later."""
        wait = self._not_before - time.monotonic()
        if wait > 0:
            raise self._away("Vault limits our rate", f"asked to wait {wait:.1f} s more")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_WHOLE_SECONDS):
                return await loop.run_in_executor(self._threads, work, client or self._client)
        except TimeoutError:
            raise self._away("Vault does not answer", f"within {_WHOLE_SECONDS:.0f} s") from None
        except requests.exceptions.SSLError:
            raise self._untrusted() from None
        except requests.exceptions.RequestException as error:
            raise self._away("Vault does not answer", type(error).__name__) from None
        except VaultAnswer as answer:
            self._not_before = max(self._not_before, time.monotonic() + answer.wait_seconds)
            raise

    def _of(self, answer: VaultAnswer, doing: str) -> Exception:
        """What to raise: requests that are wrong in themselves are judged by whoever made them."""
        if answer.status in (BAD_REQUEST, NOT_FOUND):
            return answer
        return answer.error(doing, self.address)

    def _away(self, what: str, actual: str) -> DealError:
        return away(what, self.address, actual, "wait: it is tried again; see that Vault runs")

    def _untrusted(self) -> InvalidConfiguration:
        return InvalidConfiguration(
            "the certificate of Vault is not one that we trust",
            field="VAULT_CACERT",
            value=self._login.ca_file or "the system's certificates",
            limit=f"a certificate for {self.address}",
            next_action="set VAULT_CACERT to the certificate of whoever signed Vault's",
        )

    def _unknown_role(self, answer: VaultAnswer) -> InvalidConfiguration:
        return InvalidConfiguration(
            "Vault does not know our role id and secret id",
            field=SECRET_ID_SETTING,
            value=self._login.secret_id_file,
            limit=f"a secret id that Vault has given for our role at auth/{self._login.mount}",
            actual="; ".join(answer.errors),
            next_action="make a new secret id as docs/runbooks/keys.md says, section Vault; "
            "it is read at the next attempt, without a restart",
        )


def _client(login: VaultLogin) -> hvac.Client:
    """A client without hvac's habits: nothing taken from the environment, no redirections."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(login.ca_file) if login.ca_file else True
    session.mount(
        login.address, HTTPAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS, max_retries=0)
    )
    return hvac.Client(
        url=login.address,
        token="",
        timeout=_SILENCE_SECONDS,
        allow_redirects=False,
        session=session,
        adapter=AnswerAdapter,
        namespace=login.namespace,
    )


def _lease(answer: Any) -> Lease:  # noqa: ANN401 - as hvac returns it
    auth = answer["auth"]
    return Lease(
        token=SecretStr(auth["client_token"]),
        began=time.monotonic(),
        lifetime=float(auth["lease_duration"]),
        renewable=bool(auth["renewable"]),
    )
