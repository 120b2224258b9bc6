"""Which of a chain's endpoints is used for what.

Reads stay with one endpoint for as long as it is good, so that what was read never goes back. It is
left when it fails, lags, or is of another chain, and for a heavier one that is good again; the next
must have reached the newest block that anybody was told of. A head that goes back is believed only
if no other endpoint has the block: then it was a reorganisation, otherwise a laggard.
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final

import structlog
from aiohttp import ClientSession

from activities.rpc.calls import RpcCall
from activities.rpc.endpoint import TRANSPORT_ERRORS, Endpoint, failure_of, new_session
from activities.rpc.lag import HeadHint, head_in, reference_head
from activities.rpc.meters import watch
from activities.rpc.status import EndpointStatus
from activities.rpc.trouble import trouble_in
from domain.chains import ChainProfile
from domain.errors import DealError, InvalidConfiguration, Unavailable

_log = structlog.get_logger(__name__)

_IDLE_BLOCKS: Final = 3
"""After so many block times without a read, heads are no longer asked for."""
_LONGEST_WAIT_SECONDS: Final = 10.0
"""For the last endpoint to reach the block that another has told of."""
_WAIT_STEP_SECONDS: Final = 0.1
_RECHECK_SECONDS: Final = 5.0
"""How often one of another chain is asked again, while there are others."""


@dataclass
class _Search:
    """One read's way through the endpoints: what each of them lacked."""

    failures: dict[str, str] = field(default_factory=dict)
    behind: list[Endpoint] = field(default_factory=list)
    doubted: tuple[Endpoint, list[Any]] | None = None
    """Answers that are only taken if nobody has better ones."""


class EndpointPool:
    """The endpoints of one chain."""

    def __init__(self, profile: ChainProfile) -> None:
        """Take the endpoints of the profile; connections are made when they are needed."""
        chain_id = profile.chain_id
        self.chain_id = chain_id
        self.readers = [Endpoint(chain_id, n, e) for n, e in enumerate(profile.endpoints, start=1)]
        self.private = [
            Endpoint(chain_id, n, e, private=True)
            for n, e in enumerate(profile.submission_endpoints, start=len(self.readers) + 1)
        ]
        self._goes_public = profile.goes_public_after is not None
        self._tolerance = profile.max_head_lag_blocks
        self._block_seconds = float(profile.block_time_seconds)
        self._preferred = self.readers[0]
        self._told: int | None = None
        self._was_right = False
        self._used_at = 0.0
        self._refreshing: asyncio.Task[None] | None = None
        self._session: ClientSession | None = None
        everyone = (*self.readers, *self.private)
        self._checks = {endpoint.number: asyncio.Lock() for endpoint in everyone}
        for endpoint in everyone:
            watch(chain_id, endpoint.meter, partial(self._status_of, endpoint))

    # -- reading ----------------------------------------------------------------------------------

    async def read(self, calls: list[RpcCall]) -> list[Any]:
        """Answers of one endpoint in the order of the calls, node errors as `RpcError` values.

        Raises `Unavailable` when no endpoint answers, and `InvalidConfiguration` when they all are
        of another chain and none ever was of this one.
        """
        self._refresh_in_background()
        search = _Search()
        for endpoint in self._in_order():
            answers = await self._try(endpoint, calls, search)
            if answers is not None:
                return answers
        if search.doubted is None and search.behind:
            answers = await self._wait_for_one_of(search, calls)
            if answers is not None:
                return answers
        if search.doubted is None:
            raise self._nobody(search.failures)
        endpoint, answers = search.doubted
        self._believe(endpoint, head_in(calls, answers).exact)
        return answers

    async def read_everywhere(self, calls: list[RpcCall]) -> list[list[Any]]:
        """What every endpoint of this chain answers, lagging or not; raises as `read` does."""
        failures: dict[str, str] = {}

        async def ask(endpoint: Endpoint) -> list[Any] | None:
            lacking = await self.lacking(endpoint)
            if lacking is None:
                try:
                    return await endpoint.ask(self.session(), calls)
                except TRANSPORT_ERRORS as error:
                    lacking = failure_of(error)
            failures[endpoint.label] = lacking
            return None

        results = await asyncio.gather(*(ask(endpoint) for endpoint in self.readers))
        answered = [answers for answers in results if answers is not None]
        if not answered:
            raise self._nobody(failures)
        return answered

    async def _try(
        self, endpoint: Endpoint, calls: list[RpcCall], search: _Search
    ) -> list[Any] | None:
        """The endpoint's answers, if they are good; otherwise the search has what they lack."""
        lacking = await self.lacking(endpoint)
        if lacking is not None:
            search.failures[endpoint.label] = lacking
            return None
        if await self._stays_behind(endpoint):
            search.failures[endpoint.label] = f"it has not reached block {self._told}"
            search.behind.append(endpoint)
            return None
        told_before = self._told
        try:
            answers = await endpoint.ask(self.session(), calls, others=self._has_others)
        except TRANSPORT_ERRORS as error:
            search.failures[endpoint.label] = failure_of(error)
            return None
        hint = head_in(calls, answers) if self._has_others else HeadHint()
        went_back = _is_before(hint.exact, told_before)
        if went_back and endpoint is not self._preferred:
            search.behind.append(endpoint)
            return None
        if self._has_others and (went_back or trouble_in(answers)):
            search.doubted = search.doubted or (endpoint, answers)
            return None
        self._use(endpoint, hint.at_least)
        return answers

    async def _wait_for_one_of(self, search: _Search, calls: list[RpcCall]) -> list[Any] | None:
        """Wait for a laggard that is all there is; in the end it is right, as the last one."""
        patience = min(_LONGEST_WAIT_SECONDS, (self._tolerance + 1) * self._block_seconds)
        deadline = monotonic() + patience
        while monotonic() < deadline:
            await asyncio.sleep(_WAIT_STEP_SECONDS)
            for endpoint in search.behind:
                answers = await self._try(endpoint, calls, _Search())
                if answers is not None:
                    return answers
        last = max(search.behind, key=lambda endpoint: endpoint.head or 0)
        self._believe(last, last.head)
        return await self._try(last, calls, search)

    def _in_order(self) -> list[Endpoint]:
        """The good ones, the best first, then the rest: the last one alive is never given up."""
        if not self._has_others:
            return self.readers
        ordered = sorted(self.readers, key=self._rank)
        good = [endpoint for endpoint in ordered if self._is_good(endpoint)]
        return good + [endpoint for endpoint in ordered if endpoint not in good]

    def _rank(self, endpoint: Endpoint) -> tuple[int, bool, float, int]:
        """Weight first; among equals the one that was used last, then the fastest."""
        latency = endpoint.latency_seconds
        fast = float("inf") if latency is None else latency
        return -endpoint.weight, endpoint is not self._preferred, fast, endpoint.number

    def _use(self, endpoint: Endpoint, reached: int | None) -> None:
        """Stay with this one from now on; it has told of this block."""
        if endpoint is not self._preferred:
            _log.info(
                "reading elsewhere",
                chain=self.chain_id,
                before=self._preferred.label,
                now=endpoint.label,
            )
        self._preferred, self._was_right = endpoint, True
        if reached is not None:
            self._told = reached if self._told is None else max(self._told, reached)

    def _believe(self, endpoint: Endpoint, head: int | None) -> None:
        """Take for true that the chain is no longer than this endpoint says."""
        if _is_before(head, self._told):
            _log.warning(
                "the chain has gone back, as no endpoint denies",
                chain=self.chain_id,
                endpoint=endpoint.label,
                before=self._told,
                now=head,
            )
            self._told = head
        self._use(endpoint, head)

    # -- sending ----------------------------------------------------------------------------------

    def senders(self, *, public: bool) -> list[Endpoint]:
        """Where transactions go: to the private endpoints where the profile names any.

        `public` adds the others, if the profile's policy has such a fallback at all. One that fails
        is left out for a while, unless nobody else is left.
        """
        chosen = self.private or self.readers
        if self.private and public and self._goes_public:
            chosen = [*self.private, *self.readers]
        return [endpoint for endpoint in chosen if endpoint.answers] or chosen

    # -- judging ----------------------------------------------------------------------------------

    async def lacking(self, endpoint: Endpoint) -> str | None:
        """Why the endpoint must not be used; None if it is of this chain and was not away."""
        if self._needs_check(endpoint):
            await self._check(endpoint)
        if not endpoint.checked:
            return endpoint.last_error or "it does not answer"
        if endpoint.chain_id_ok is False:
            return f"it is of chain {endpoint.other_chain}"
        return None

    def status(self) -> list[EndpointStatus]:
        """How every endpoint stands, without asking anything."""
        return [self._status_of(endpoint) for endpoint in (*self.readers, *self.private)]

    @property
    def _has_others(self) -> bool:
        return len(self.readers) > 1

    def _is_good(self, endpoint: Endpoint) -> bool:
        """Whether it is used while there are others; one that failed is tried in the background."""
        lag = self._lag_of(endpoint)
        return (
            endpoint.circuit.state == "closed"
            and not endpoint.paused
            and endpoint.chain_id_ok is not False
            and (lag is None or lag <= self._tolerance)
        )

    def _lag_of(self, endpoint: Endpoint) -> int | None:
        """Blocks behind the others; None if that is not known, or of no interest as of a relay."""
        heads = [
            each.head
            for each in self.readers
            if each.head is not None and each.chain_id_ok and each.circuit.state == "closed"
        ]
        reference = reference_head(heads, self._tolerance)
        if reference is None or endpoint.head is None or endpoint.private:
            return None
        return max(0, reference - endpoint.head)

    def _is_behind(self, endpoint: Endpoint) -> bool:
        """Whether reading from it could go back behind what was told."""
        return self._has_others and _is_before(endpoint.head, self._told)

    async def _stays_behind(self, endpoint: Endpoint) -> bool:
        """Whether it is behind also if it is asked now: what is known of its head may be old."""
        if self._is_behind(endpoint) and endpoint is not self._preferred:
            await self._check(endpoint)
        return self._is_behind(endpoint)

    def _needs_check(self, endpoint: Endpoint) -> bool:
        if not endpoint.checked:
            return True
        if endpoint.chain_id_ok is False:
            wait = _RECHECK_SECONDS if self._has_others else 0.0
            return monotonic() - endpoint.checked_at > wait
        return False

    async def _check(self, endpoint: Endpoint) -> None:
        """Check it, once for all who ask for that at the same time."""
        asked = monotonic()
        async with self._checks[endpoint.number]:
            if endpoint.checked_at <= asked:
                await endpoint.check(self.session())

    def _status_of(self, endpoint: Endpoint) -> EndpointStatus:
        latency = endpoint.latency_seconds
        return EndpointStatus(
            number=endpoint.number,
            label=endpoint.label,
            private=endpoint.private,
            healthy=self._is_good(endpoint) and (endpoint.checked or endpoint.private),
            circuit=endpoint.circuit.state,
            head=endpoint.head,
            lag=self._lag_of(endpoint),
            latency_ms=None if latency is None else round(latency * 1000, 2),
            chain_id_ok=endpoint.chain_id_ok if endpoint.checked else None,
            last_error=endpoint.last_error,
            weight=endpoint.weight,
        )

    def _nobody(self, failures: dict[str, str]) -> DealError:
        if all(endpoint.chain_id_ok is False for endpoint in self.readers) and not self._was_right:
            return InvalidConfiguration(
                f"the node of chain {self.chain_id} is of another chain",
                field="chain_id",
                value=self.chain_id,
                limit=self.chain_id,
                actual=self.readers[0].other_chain,
                next_action=f"correct DEAL_CHAIN_{self.chain_id}_ENDPOINTS",
            )
        return Unavailable(
            f"no endpoint of chain {self.chain_id} answers",
            field="endpoints",
            value=self.chain_id,
            actual=", ".join(f"{label}: {why}" for label, why in failures.items()),
            next_action="check the endpoints with `deal config check`",
        )

    # -- life -------------------------------------------------------------------------------------

    def session(self) -> ClientSession:
        """The session that all endpoints share, made within the loop that uses it."""
        if self._session is None:
            self._session = new_session()
        return self._session

    async def close(self) -> None:
        """Stop asking, and close the kept connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _refresh_in_background(self) -> None:
        """See to it that heads are known for as long as there are reads, and others to compare."""
        self._used_at = monotonic()
        if self._has_others and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        while monotonic() - self._used_at < _IDLE_BLOCKS * self._block_seconds:
            asked = [endpoint for endpoint in self.readers if endpoint.answers]
            await asyncio.gather(*(self._check(endpoint) for endpoint in asked))
            await asyncio.sleep(self._block_seconds)


def _is_before(head: int | None, told: int | None) -> bool:
    return head is not None and told is not None and head < told
