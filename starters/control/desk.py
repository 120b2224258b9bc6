"""What people do with deals, by command line and API alike: allowed, written down, done, answered.

Everything goes the same way. The caller needs the permission for the deal's bank; another bank's
deal does not exist for him. The command is written down under its id before it goes to the
workflow, where the same id names the update, so that giving it again is giving it once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from activities.transactions.interface import Action, TransactionView
from domain.approvals import Approval
from domain.commands import CommandKind, NewCommand
from domain.deals import CLOSED, Command, DealRequest, DealStatus, check_command
from domain.desk_approvals import DeskApproval, not_awaited
from domain.errors import NotFound, Unavailable
from domain.identifiers import BankId, DealId
from domain.identity import Caller, Permission
from domain.launches import Launch
from domain.views import DealView
from starters.control.approvals import Approvals, ApprovalsPage
from starters.control.commands import CommandStore
from starters.control.giving import Giving, heard
from starters.deals.acting import check_action
from starters.deals.client import DealClient
from starters.deals.failures import not_found
from starters.deals.launch import launch, newest_view
from starters.deals.reading import DealFilter, DealPage, RecordsReader
from starters.deals.transactions import IntentDetail
from workflows.deal.messages import (
    AdoptMessage,
    ApprovalMessage,
    CommandMessage,
    OwnerMessage,
    RejectionMessage,
    TransactionMessage,
    UnwindMessage,
)

Clients = Callable[[], Awaitable[DealClient]]
"""Connects to Temporal; raises `Unavailable`."""


class DealDesk:
    """Deals as a caller may see and change them. Raises the domain's errors only.

    Every method raises `Forbidden` without the permission, `NotFound` for a deal of a bank that is
    not the caller's as for one that is not there, and `Unavailable`.
    """

    def __init__(self, clients: Clients, records: RecordsReader, commands: CommandStore) -> None:
        """Talk to workflows by these clients, read those records, write commands down there."""
        self._clients = clients
        self._records = records
        self._giving = Giving(clients, commands)

    # -- reading --------------------------------------------------------------------------------

    async def view(self, caller: Caller, deal_id: DealId) -> tuple[DealView, bool]:
        """Return the deal, and whether its workflow itself answered."""
        caller.require(Permission.DEALS_READ)
        view, fresh = await newest_view(deal_id, await self._client_if_up(), self._records)
        _ensure_visible(caller, view)
        return view, fresh

    async def page(self, caller: Caller, chosen: DealFilter) -> DealPage:
        """Return one page of the caller's banks' deals."""
        return await self._records.page(for_caller(caller, chosen))

    async def approvals(self, caller: Caller, deal_id: DealId) -> Approvals:
        """Return what the desk and the owners are asked for of a deal, and who has said what."""
        view, fresh = await self.view(caller, deal_id)
        return Approvals.of(view, from_workflow=fresh)

    async def asked(self, caller: Caller, deal_id: DealId) -> DeskApproval:
        """Return what an approver is asked for. Raises `PolicyDenied` if nobody is."""
        caller.require(Permission.DEALS_APPROVE)
        view, _ = await self.view(caller, deal_id)
        if view.desk_approval is None:
            raise not_awaited(view.status)
        return view.desk_approval

    async def waiting(self, caller: Caller, chosen: DealFilter) -> ApprovalsPage:
        """Return one page of the caller's banks' deals that wait for approvals, by the records."""
        asked = replace(chosen, statuses=(DealStatus.AWAITING_APPROVAL,))
        page = await self.page(caller, asked)
        found = [Approvals.of(view, from_workflow=False) for view in page.deals]
        return ApprovalsPage(approvals=tuple(found), next_cursor=page.next_cursor)

    # -- changing -------------------------------------------------------------------------------

    async def start(
        self, caller: Caller, request: DealRequest, *, why: str, command_id: str
    ) -> DealView:
        """Start a deal whose request was checked; the same request again is the same deal."""
        caller.require(Permission.DEALS_START, request.bank)
        command = NewCommand(
            command_id=command_id,
            kind=CommandKind.START,
            subject=request.deal_id,
            deal_id=request.deal_id,
            bank=request.bank,
            body=request.model_dump(mode="json", exclude_none=True),
            request_digest=request.digest(),
            why=why,
        )

        async def hand_over(client: DealClient) -> DealView:
            begun = Launch(command_id=command_id, initiator=caller.who, via=caller.via)
            view = await launch(request, client, self._records, begun)
            _ensure_visible(caller, view)
            return view

        return heard(await self._giving.give(caller, command, hand_over, DealView))

    async def give(  # noqa: PLR0913 - what a command is made of
        self,
        caller: Caller,
        command: Command,
        deal_id: DealId,
        why: str,
        command_id: str,
        *,
        part_bps: int | None = None,
        answers: str | None = None,
    ) -> DealView | None:
        """Pause, resume, cancel, retry and the like; None if it is queued.

        That is what happens to cancel and unwind while Temporal is away: they are given once, as
        soon as it is back. `part_bps` is how much to unwind, all by default, `answers` who answers
        for what an adopted deal leaves. Raises `NotAllowed` (its state does not allow
        it) and `OutcomeUnknown`.
        """
        bank = await self._bank(caller, Permission(f"deals.{command}"), deal_id)
        message = CommandMessage(who=caller.who, why=why, via=caller.via)
        if command is Command.UNWIND:
            message = UnwindMessage(**message.model_dump(), part_bps=part_bps)
        elif command is Command.ADOPT:
            message = AdoptMessage(**message.model_dump(), answers=answers)
        kind = CommandKind(f"deal.{command}")

        async def hand_over(client: DealClient) -> DealView:
            try:
                return await client.command(deal_id, command, message, command_id)
            except NotFound:
                if command is not Command.ADOPT:
                    raise
                # Temporal keeps nothing for ever: what the deal was asked for is in the records.
                return await client.take_over(await self._forgotten(deal_id), message, command_id)

        new = _about(kind, deal_id, bank, message.model_dump(mode="json"), why, command_id)
        return await self._giving.give(caller, new, hand_over, DealView)

    async def _forgotten(self, deal_id: DealId) -> DealRequest:
        """The request of a deal that only the records know; raises `NotAllowed` if it has ended."""
        found = await self._records.find(deal_id)
        if found is None:
            raise not_found(deal_id)
        if found.status in CLOSED:
            check_command(Command.ADOPT, found.status)
        return found.request

    async def transact(
        self, caller: Caller, intent: IntentDetail, action: Action, why: str, *, command_id: str
    ) -> TransactionView:
        """Act on one transaction of a deal, as the records have it, in the caller's name.

        Raises `NotAllowed` if nothing can be done for it any more, `LimitExceeded` (the fee would
        be above the cap) and `OutcomeUnknown`.
        """
        deal_id = intent.deal_id
        bank = await self._bank(caller, Permission.TX_ACT, deal_id)
        message = TransactionMessage(
            intent_id=intent.intent_id, action=action, who=caller.who, why=why, via=caller.via
        )

        async def hand_over(client: DealClient) -> TransactionView:
            check_action(action, intent)
            return await client.transact(deal_id, message, command_id)

        body = message.model_dump(mode="json")
        new = _about(CommandKind.TRANSACT, deal_id, bank, body, message.why, command_id)
        return heard(await self._giving.give(caller, new, hand_over, TransactionView))

    async def decide(  # noqa: PLR0913 - what a decision is made of
        self,
        caller: Caller,
        deal_id: DealId,
        *,
        reject: bool,
        binding_digest: str | None = None,
        why: str,
        command_id: str,
    ) -> DeskApproval:
        """Approve or reject a deal for the desk: exactly what the digest stands for.

        Without one it is what the deal waits for now. Whether it counts is for the database to
        say, by this command: `PolicyDenied` tells why it does not.
        """
        if binding_digest is None:
            binding_digest = (await self.asked(caller, deal_id)).binding_digest
        bank = await self._bank(caller, Permission.DEALS_APPROVE, deal_id)
        kind = CommandKind.REJECT if reject else CommandKind.APPROVE
        message = ApprovalMessage(
            who=caller.who, why=why, via=caller.via, binding_digest=binding_digest
        )

        async def hand_over(client: DealClient) -> DeskApproval:
            return await client.decide(deal_id, message, command_id, reject=reject)

        new = _about(kind, deal_id, bank, message.model_dump(mode="json"), why, command_id)
        return heard(await self._giving.give(caller, new, hand_over, DeskApproval))

    async def hear_owner(
        self, caller: Caller, deal_id: DealId, message: OwnerMessage, *, command_id: str
    ) -> Approval:
        """Hand over what an owner of the Safe has signed, in the caller's name."""
        bank = await self._bank(caller, Permission.DEALS_APPROVE, deal_id)
        message = message.model_copy(update={"who": caller.who})
        rejects = isinstance(message, RejectionMessage)
        kind = CommandKind.OWNER_REJECT if rejects else CommandKind.OWNER_SIGN
        why = message.why if isinstance(message, RejectionMessage) else "signed as an owner"

        async def hand_over(client: DealClient) -> Approval:
            return await client.hear_owner(deal_id, message, command_id)

        new = _about(kind, deal_id, bank, message.model_dump(mode="json"), why, command_id)
        return heard(await self._giving.give(caller, new, hand_over, Approval))

    # -- how ------------------------------------------------------------------------------------

    async def _bank(self, caller: Caller, permission: Permission, deal_id: DealId) -> BankId:
        """The deal's bank, once the caller is allowed this for it."""
        caller.require(permission)
        found = await self._records.find(deal_id)
        if found is None:  # it may be so new that no record of it is written yet
            client = await self._client_if_up()
            if client is None:
                raise not_found(deal_id)
            found = await client.view(deal_id)
        _ensure_visible(caller, found)
        caller.require(permission, found.request.bank)
        return found.request.bank

    async def _client_if_up(self) -> DealClient | None:
        try:
            return await self._clients()
        except Unavailable:
            return None


def for_caller(caller: Caller, chosen: DealFilter) -> DealFilter:
    """Narrow a filter to the caller's banks; raises `Forbidden` if he may not read deals."""
    caller.require(Permission.DEALS_READ)
    return replace(chosen, banks=caller.banks)


def _ensure_visible(caller: Caller, view: DealView) -> None:
    """Raise as if there were no such deal, if it is another bank's."""
    if not caller.principal.has_bank(view.request.bank):
        raise not_found(view.request.deal_id)


def _about(  # noqa: PLR0913, PLR0917 - the parts of a command
    kind: CommandKind,
    deal_id: DealId,
    bank: BankId,
    body: dict[str, Any],
    why: str,
    command_id: str,
) -> NewCommand:
    return NewCommand(
        command_id=command_id,
        kind=kind,
        subject=deal_id,
        deal_id=deal_id,
        bank=bank,
        body=body,
        why=why,
    )
