"""What a builder of steps returns, and the parts that every such draft is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from activities.protocols import erc20, uniswap
from activities.protocols.multicall import Read
from activities.protocols.reader import ChainReader, Look
from activities.rpc.fees import FeeLevel
from activities.transactions.interface import PrepareBatch
from domain.chains import ChainProfile, ModuleProfile
from domain.errors import NotAllowed
from domain.identifiers import Address
from domain.transactions import Asset, Bound, Fees


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a batch; value in wei, `purpose` for people."""

    to: Address
    purpose: str
    data: str = "0x"
    value: int = 0
    spends_rest: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """The calls of a step in their order, before simulation."""

    sender: Address
    calls: tuple[Call, ...]
    bounds: tuple[Bound, ...]
    fees: Fees
    level: FeeLevel
    mined_nonce: int
    balance_wei: int
    """Ether of the deal's account before the batch."""
    block_number: int
    timestamp: int
    """The block that the draft was built from, on which it is simulated."""


def draft_of(
    look: Look,
    calls: Sequence[Call],
    bounds: Sequence[Bound],
    *,
    sender: Address | None = None,
    fees: Fees | None = None,
) -> Draft:
    """The draft of these calls, built from this look; raises `NotAllowed` if there are none."""
    if not calls:
        raise NotAllowed(
            "there is nothing that this step could do now",
            field="position",
            actual=look.position.model_dump_json(),
            next_action="look at the account: it may be empty already",
        )
    return Draft(
        sender=sender or look.position.account,
        calls=tuple(calls),
        bounds=tuple(bounds),
        fees=fees or look.fees.maximum,
        level=look.fees,
        mined_nonce=look.mined_nonce,
        balance_wei=look.position.wei,
        block_number=look.position.block_number,
        timestamp=look.timestamp,
    )


async def look_for(
    reader: ChainReader, order: PrepareBatch, extra: list[Read], sender: Address | None = None
) -> Look:
    """Look at the account of an order, and at the fees that its deal may pay."""
    look = await reader.look(order.request.module, order.account, sender or order.account, extra)
    return replace(look, fees=look.fees.under(order.request.max_fee_per_gas_wei))


def allowance_read(token: Address, owner: Address, spender: Address) -> Read:
    """What a spender is allowed of an owner's tokens."""
    return Read(token, erc20.ALLOWANCE, (owner, spender))


def quote_read(
    profile: ChainProfile, module: ModuleProfile, give: Address, get: Address, amount: int
) -> Read:
    """What a swap of exactly so much would pay, see `uniswap.quoted`."""
    return Read(
        profile.contract("uniswap_quoter"),
        uniswap.QUOTE_EXACT_INPUT_SINGLE,
        ((give, get, amount, module.pool_fee, uniswap.NO_PRICE_LIMIT),),
        optional=True,  # a pool without liquidity must not keep from redeeming
    )


def approval(
    token: Address, spender: Address, amount: int, allowance: tuple[object, ...], purpose: str
) -> list[Call]:
    """Calls that leave the spender allowed exactly what the next call takes.

    An earlier attempt may have left an allowance; USDT accepts a new one only after zero.
    """
    current = int(str(allowance[0]))
    if current == amount:
        return []
    approve = Call(token, purpose, erc20.APPROVE.encode(spender, amount))
    if not current:
        return [approve]
    return [Call(token, "Clear an old allowance", erc20.APPROVE.encode(spender, 0)), approve]


def exactly(asset: Asset, change: int) -> Bound:
    """The post-condition that a balance changes by this and nothing else."""
    return Bound(asset=asset, minimum=change, maximum=change)
