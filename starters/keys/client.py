"""The life of keys as people ask for it; each request is a workflow, whose history tells of it."""

import asyncio
from typing import Any, Final, TypeVar
from uuid import uuid4

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.custody.interface import (
    JournalVerified,
    KeyList,
    KeysRotated,
    KeyView,
    ListKeys,
    RetireAccount,
    Rotation,
    VerifyJournal,
)
from activities.protocols.interface import ReadPosition
from domain.deals import CLOSED
from domain.errors import NotAllowed, OutcomeUnknown, Unavailable
from domain.identifiers import DealId
from domain.views import DealView
from starters.deals.failures import About, errors_about, not_found
from starters.deals.reading import RecordsReader
from workflows.deal.messages import CommandMessage
from workflows.deal.workflow import TASK_QUEUE
from workflows.keys.requests import (
    ListKeysWorkflow,
    ReinstateKeyWorkflow,
    RetireKey,
    RetireKeyWorkflow,
    VerifyJournalWorkflow,
    retirement_id,
)
from workflows.keys.rotation import WORKFLOW_ID, RotateKeysWorkflow, RotateRequest

_ANSWER_SECONDS: Final = 75
_VERIFY_SECONDS: Final = 3_600
_SUMMARY_LENGTH: Final = 200
_COMMAND: Final = "command_id"

T = TypeVar("T")


class KeyClient:
    """Talks to the signer through Temporal. Every method raises the domain's errors only."""

    def __init__(self, client: Client, records: RecordsReader) -> None:
        """Use a connected client, and the records of deals."""
        self._client = client
        self._records = records

    async def page(self, order: ListKeys) -> KeyList:
        """List keys. Raises `NotFound` for a deal without one, and `Unavailable`."""
        return await self._asked(
            ListKeysWorkflow.run, order, f"list-keys-{uuid4()}", "List keys", KeyList
        )

    async def retire(self, deal_id: DealId, message: CommandMessage, *, command_id: str) -> KeyView:
        """Retire the key of a deal that has ended and whose account is empty.

        The same command again is done once. Raises `NotFound`, `NotAllowed` if the deal goes on or
        something is left, and `OutcomeUnknown`.
        """
        view = await self._closed(deal_id)
        account = _retirement(deal_id, message, command_id)
        order = RetireKey(account=account, position=_position(view))
        return await self._commanded(
            RetireKeyWorkflow.run, order, retirement_id(deal_id), message, command_id, KeyView
        )

    async def reinstate(
        self, deal_id: DealId, message: CommandMessage, *, command_id: str
    ) -> KeyView:
        """Let a retired key sign again, once a command. Raises `NotFound` and `OutcomeUnknown`."""
        return await self._commanded(
            ReinstateKeyWorkflow.run,
            _retirement(deal_id, message, command_id),
            retirement_id(deal_id),
            message,
            command_id,
            KeyView,
        )

    async def rotate(
        self, rotations: tuple[Rotation, ...], message: CommandMessage, *, command_id: str
    ) -> tuple[KeysRotated, ...]:
        """Rotate the seed, the wrapping key, or both; once a command.

        Whoever asks while another's rotation is under way is refused. Raises `NotAllowed` where the
        key store has none to rotate, and `OutcomeUnknown`.
        """
        request = RotateRequest(
            rotations=rotations, who=message.who, why=message.why, command_id=command_id
        )
        rotated: list[Any] = await self._commanded(
            RotateKeysWorkflow.run, request, WORKFLOW_ID, message, command_id, list
        )
        return tuple(KeysRotated.model_validate(each) for each in rotated)

    async def verify(self, order: VerifyJournal) -> JournalVerified:
        """Recompute the signing journal. Raises `OutcomeUnknown` and `Unavailable`."""
        return await self._asked(
            VerifyJournalWorkflow.run,
            order,
            f"verify-journal-{uuid4()}",
            "Recompute the signing journal",
            JournalVerified,
            seconds=_VERIFY_SECONDS,
        )

    async def _closed(self, deal_id: DealId) -> DealView:
        view = await self._records.find(deal_id)
        if view is None:
            raise not_found(deal_id)
        if view.status not in CLOSED:
            raise NotAllowed(
                f"deal {deal_id} has not ended, and needs its key",
                field="deal_id",
                value=deal_id,
                limit=", ".join(sorted(CLOSED)),
                actual=view.status,
                next_action="cancel it, or wait for its end; its key is retired then",
            )
        return view

    async def _commanded(  # noqa: PLR0913, PLR0917 - the parts of one command
        self,
        workflow: Any,  # noqa: ANN401 - the run method of any workflow
        order: object,
        workflow_id: str,
        message: CommandMessage,
        command_id: str,
        result_type: type[T],
    ) -> T:
        """Have a command done; one that is under way already is waited for."""
        try:
            return await self._asked(
                workflow, order, workflow_id, _words(message), result_type, command_id=command_id
            )
        except WorkflowAlreadyStartedError as error:
            about = About("the signer's keys", "keys", workflow_id)
            with errors_about(about):
                handle = self._client.get_workflow_handle(workflow_id, result_type=result_type)
                running = await handle.describe()
                if (await running.memo()).get(_COMMAND) != command_id:
                    raise _under_way(workflow_id) from error
            return await _result(handle, about, _ANSWER_SECONDS)

    async def _asked(  # noqa: PLR0913 - the parts of one request
        self,
        workflow: Any,  # noqa: ANN401 - the run method of any workflow
        order: object,
        workflow_id: str,
        summary: str,
        result_type: type[T],
        *,
        seconds: float = _ANSWER_SECONDS,
        command_id: str | None = None,
    ) -> T:
        """Start a workflow and wait for its result; the result is unknown if none comes."""
        about = About("the signer's keys", "keys", workflow_id)
        with errors_about(about):
            handle = await self._client.start_workflow(
                workflow,
                order,
                id=workflow_id,
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=summary,
                memo=None if command_id is None else {_COMMAND: command_id},
                result_type=result_type,
            )
        return await _result(handle, about, seconds)


async def _result(handle: WorkflowHandle[Any, T], about: About, seconds: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            with errors_about(about):
                return await handle.result()
    except (TimeoutError, Unavailable) as error:
        raise OutcomeUnknown(
            "the signer has not answered",
            field=about.field,
            value=about.value,
            limit=f"an answer within {seconds:.0f} s",
            actual=str(error) or "none",
            next_action="check that the signer runs, look with `deal keys list`, and ask again",
        ) from error


def _under_way(workflow_id: str) -> NotAllowed:
    return NotAllowed(
        "somebody else has the same under way",
        field="keys",
        value=workflow_id,
        limit="one at a time",
        next_action="look with `deal keys list` what came of it, then ask again",
    )


def _retirement(deal_id: DealId, message: CommandMessage, command_id: str) -> RetireAccount:
    return RetireAccount(deal_id=deal_id, who=message.who, why=message.why, request_id=command_id)


def _position(view: DealView) -> ReadPosition | None:
    """What has to be empty; a deal that was denied never had anything."""
    if view.account is None:
        return None
    request = view.request
    return ReadPosition(chain_id=request.chain_id, module=request.module, account=view.account)


def _words(message: CommandMessage) -> str:
    return f"{message.who}: {message.why}"[:_SUMMARY_LENGTH]
