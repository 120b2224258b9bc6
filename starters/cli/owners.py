"""How `deal approvals`, `deal sign` and `deal reject` do what they do."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import typer

from domain.approvals import Approval
from domain.chains import ChainProfile, find_chain
from domain.errors import NotAllowed
from domain.identifiers import DealId
from domain.identity import Permission
from domain.views import DealView
from starters.cli import formats, tables
from starters.cli.asking import require_terminal
from starters.cli.key_file import KeyFile, open_key_file
from starters.cli.node import Node
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, load_config_settings, load_settings
from starters.cli.temporal import open_desk
from starters.cli.verification import Verified, proposed, verify
from starters.cli.witness import look
from starters.control.approvals import AskedOfOwners
from workers.runtime.profiles import load_profiles
from workflows.deal.messages import OwnerMessage, RejectionMessage


class Session:
    """An owner at his own machine."""

    def __init__(
        self,
        key_file: Path,
        passphrase_file: Path | None,
        rpc_url: str | None,
        request_digest: str | None,
        *,
        sure: bool,
    ) -> None:
        """Take the options of a command."""
        self._files = key_file, passphrase_file
        self._rpc_url = rpc_url
        self._request_digest = request_digest
        self.sure = sure

    def check(self, deal_id: DealId, view: DealView) -> Verified:
        """Hold what the server says against everything that is the owner's own."""
        approval = proposed(deal_id, view)
        profile = _profile(view)
        node = Node(self._rpc_url or profile.endpoints[0].url.get_secret_value())
        witness = look(node, profile, approval.proposal.transaction)
        return verify(
            deal_id,
            view,
            profile,
            witness,
            datetime.now(UTC),
            expected_digest=self._request_digest,
        )

    def open_key(self, verified: Verified) -> KeyFile:
        """Open the owner's key; raises `NotAllowed` if it is no owner's, by his own node."""
        key = open_key_file(*self._files)
        if key.owner not in verified.witness.owners:
            raise NotAllowed(
                f"{key.owner} is no owner of the Safe",
                field="key_file",
                value=key.owner,
                limit=", ".join(verified.witness.owners),
                next_action="give the key file of an owner",
            )
        return key


async def sign(deal_id: DealId, session: Session, output: Output) -> None:
    """`deal sign`."""

    def message(verified: Verified, key: KeyFile, who: str) -> OwnerMessage:
        given = key.sign(verified.proposal.transaction.hash())
        return OwnerMessage(
            owner=given.owner,
            signature=given.signature,
            transaction_hash=verified.proposal.transaction.hash(),
            who=who,
        )

    await _say(deal_id, session, "sign", message, output)


async def reject(deal_id: DealId, session: Session, why: str, output: Output) -> None:
    """`deal reject`."""

    def message(verified: Verified, key: KeyFile, who: str) -> OwnerMessage:
        given = key.sign(verified.proposal.transaction.rejection_hash())
        return RejectionMessage(
            owner=given.owner,
            signature=given.signature,
            transaction_hash=verified.proposal.transaction.hash(),
            who=who,
            why=why,
        )

    await _say(deal_id, session, "reject", message, output)


async def _say(
    deal_id: DealId,
    session: Session,
    what: str,
    message: Callable[[Verified, KeyFile, str], OwnerMessage],
    output: Output,
) -> None:
    """Check, show, ask, sign, hand over, and print who has signed then."""
    if not session.sure:
        require_terminal(what)
    settings = load_settings()
    who = await caller(Permission.DEALS_APPROVE)
    desk = open_desk(settings)
    verified = session.check(deal_id, (await desk.view(who, deal_id))[0])
    _explain(verified)
    if not session.sure and not typer.confirm(f"{what} it?", err=True):
        typer.echo("nothing was signed", err=True)
        raise typer.Exit(1)
    key = session.open_key(verified)
    approval = await desk.hear_owner(
        who, deal_id, message(verified, key, who.who), command_id=str(uuid4())
    )
    _print(verified.view, approval, output)


def _profile(view: DealView) -> ChainProfile:
    """The chain as the owner's own configuration has it."""
    return find_chain(load_profiles(load_config_settings().config_dir), view.request.chain_id)


def _explain(verified: Verified) -> None:
    """Say on standard error what will happen, decoded; the answer stays apart."""
    proposal, witness, view = verified.proposal, verified.witness, verified.view
    transaction, request = proposal.transaction, view.request
    turn = "its next" if transaction.nonce == witness.nonce else f"{witness.nonce} comes first"
    paid = f"{formats.ether(transaction.value)} ({formats.usd(verified.value_usd8)}"
    bank, together = request.bank, formats.usd(proposal.together_usd8)
    facts = {
        "the Safe": f"{transaction.safe} on chain {transaction.chain_id}",
        "pays": f"{paid} at your node's price)",
        "to": transaction.to,
        "": f"the account of deal {request.deal_id}, from which nothing was ever sent",
        "for": f"{bank}: {request.working_liquidity} ETH in {request.module}, {request.mode}",
        "together": f"{together} with what else {bank} moves, says the server",
        "request digest": proposal.request_digest,
        "Safe nonce": f"{transaction.nonce}, {turn}",
        "nothing else": "no calldata, no delegate call, no refund",
        "signatures": f"{proposal.threshold} of {len(proposal.owners)} owners",
        "expires": f"{formats.moment(proposal.expires_at)} UTC",
        "hash to sign": transaction.hash(),
    }
    typer.echo("Checked on this machine, against your own configuration and node:", err=True)
    for name, fact in facts.items():
        typer.echo(f"  {name:<15} {fact}", err=True)


def _print(view: DealView, approval: Approval, output: Output) -> None:
    if output is Output.JSON:
        print_json(AskedOfOwners.of(view.request.deal_id, approval).model_dump(mode="json"))
    else:
        show(tables.approval_facts(approval))
