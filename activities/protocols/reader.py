"""Reading positions and markets of one chain, each in as few requests as it takes."""

from dataclasses import dataclass
from typing import Any, Final

from activities.protocols import aave, erc20, multicall, redemption, uniswap
from activities.protocols.multicall import Read
from activities.protocols.ticks import PoolReading, pool_snapshot, words_to_read
from activities.rpc.client import Questions, RpcCall
from activities.rpc.fees import FeeLevel, fee_level, price_call
from domain.amounts import ETHER_DECIMALS
from domain.chains import ChainProfile, ModuleProfile
from domain.errors import InvalidConfiguration
from domain.identifiers import Address, ModuleId
from domain.market import LendingTerms, MarketSnapshot, RedemptionTerms
from domain.pool import PoolSnapshot
from domain.positions import Position

LATEST: Final = "latest"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the chain for preparing a batch: all from the same request."""

    position: Position
    values: list[tuple[Any, ...]]
    """What the additional reads returned."""
    timestamp: int
    fees: FeeLevel
    mined_nonce: int


class ChainReader:
    """Reads one chain through its Multicall3; keeps what never changes."""

    def __init__(self, profile: ChainProfile, rpc: Questions) -> None:
        """Take the chain's profile and its connection."""
        self.profile = profile
        self.rpc = rpc
        self._verified = False
        self._decimals: dict[Address, int] = {}

    def over(self, rpc: Questions) -> "ChainReader":
        """The same reader over another connection to the same chain; what is known stays known."""
        reader = ChainReader(self.profile, rpc)
        reader._verified, reader._decimals = self._verified, self._decimals
        return reader

    async def verify(self) -> None:
        """Check once that the chain has every contract of the manifest.

        Raises `InvalidConfiguration` naming what does not agree, `Unavailable` without a node. That
        nodes are of this chain is seen to with every one of them, before it is used.
        """
        if self._verified:
            return
        names = sorted(self.profile.contracts)
        answers = await self.rpc.batch(
            [RpcCall("eth_getCode", (self.profile.contracts[n], LATEST)) for n in names]
        )
        for name, code in zip(names, answers, strict=True):
            if self.rpc.expect(code) in ("0x", ""):
                raise InvalidConfiguration(
                    f"there is no contract {name} on chain {self.profile.chain_id}",
                    field=f"addresses.{name}",
                    value=self.profile.contracts[name],
                    limit="an address with code",
                    next_action=f"correct the address manifest of chain {self.profile.chain_id}",
                )
        self._verified = True

    async def position(self, module: ModuleId, account: Address) -> Position:
        """The position at the newest block."""
        reads = self.position_reads(self.profile.module(module), account)
        decimals = await self._decimals_of(self.profile.module(module))
        values = await self.read(reads)
        return position_from(account, decimals, values)

    async def look(
        self, module: ModuleId, account: Address, sender: Address, extra: list[Read]
    ) -> Look:
        """Position of `account`, the extra reads, fees, and the sender's mined nonce."""
        terms = self.profile.module(module)
        decimals = await self._decimals_of(terms)
        position = self.position_reads(terms, account)
        reads = [
            *position,
            Read(self.profile.contract("multicall3"), multicall.GET_TIMESTAMP),
            *extra,
        ]
        answers = await self.rpc.batch(
            [
                self.read_call(reads),
                price_call(self.profile.fees),
                RpcCall("eth_getTransactionCount", (sender, LATEST)),
            ]
        )
        values = multicall.decode_reads(reads, self.rpc.expect(answers[0]))
        return Look(
            position=position_from(account, decimals, values[: len(position)]),
            timestamp=int(values[len(position)][0]),
            values=values[len(position) + 1 :],
            fees=fee_level(self.profile, self.rpc.expect(answers[1])),
            mined_nonce=int(self.rpc.expect(answers[2]), 16),
        )

    async def market(self, module: ModuleId, treasury: Address) -> MarketSnapshot:
        """Everything sizing needs, as of one block and the ticks right after it."""
        terms = self.profile.module(module)
        decimals = await self._decimals_of(terms)
        reads = self._market_reads(terms, treasury)
        answers = await self.rpc.batch([self.read_call(reads), price_call(self.profile.fees)])
        values = multicall.decode_reads(reads, self.rpc.expect(answers[0]))
        fees = fee_level(self.profile, self.rpc.expect(answers[1]))
        (block,), (time,), (wei,), (collateral_price,), (par_price,), *rest = values
        configuration, reserve, slot0, (liquidity,), (spacing,), *redeem = rest
        reading = PoolReading(int(slot0[0]), int(slot0[1]), int(liquidity), int(spacing))
        return MarketSnapshot(
            chain_id=self.profile.chain_id,
            block_number=block,
            timestamp=time,
            collateral_price_usd8=collateral_price,
            par_price_usd8=par_price,
            par_decimals=decimals,
            lending=LendingTerms(
                ltv_bps=configuration[1],
                liquidation_threshold_bps=configuration[2],
                borrow_rate_ray=reserve[6],
                available=max(0, reserve[2] - reserve[3] - reserve[4]),
            ),
            pool=await self._pool(terms, reading),
            redemption=redemption_terms(redeem),
            gas_price_wei=fees.expected_price,
            gas_fee_cap_wei=fees.maximum.max_fee_per_gas,
            treasury_wei=wei,
        )

    def position_reads(self, terms: ModuleProfile, account: Address) -> list[Read]:
        """What a position consists of, in the order of `position_from`."""
        contract = self.profile.contract
        balances = (
            terms.collateral,
            terms.par_token,
            terms.discount_token,
            terms.collateral_receipt,
            terms.debt_token,
        )
        oracle = contract("aave_oracle")
        return [
            Read(contract("multicall3"), multicall.GET_BLOCK_NUMBER),
            Read(contract("multicall3"), multicall.GET_ETH_BALANCE, (account,)),
            *(Read(contract(name), erc20.BALANCE_OF, (account,)) for name in balances),
            Read(contract("aave_pool"), aave.GET_USER_ACCOUNT_DATA, (account,)),
            Read(oracle, aave.GET_ASSET_PRICE, (contract(terms.collateral),)),
            Read(oracle, aave.GET_ASSET_PRICE, (contract(terms.par_token),)),
        ]

    def redemption_reads(self, terms: ModuleProfile) -> list[Read]:
        """The redemption module's terms, in the order of `redemption_terms`."""
        target = self.profile.contract(terms.redemption)
        return [
            Read(target, redemption.FEE_BPS),
            Read(target, redemption.REDEEM_FROZEN),
            Read(target, redemption.REMAINING_TODAY),
            Read(target, redemption.RESERVE),
        ]

    async def redemption(self, module: ModuleId) -> RedemptionTerms:
        """The redemption module's terms at the newest block."""
        return redemption_terms(await self.read(self.redemption_reads(self.profile.module(module))))

    def read_call(self, reads: list[Read], block: str = LATEST) -> RpcCall:
        """The one ``eth_call`` that performs these reads."""
        target = self.profile.contract("multicall3")
        return RpcCall("eth_call", ({"to": target, "data": multicall.encode_reads(reads)}, block))

    async def decimals(self, module: ModuleId) -> int:
        """Decimals of a module's par token; kept, since they never change."""
        return await self._decimals_of(self.profile.module(module))

    def _market_reads(self, terms: ModuleProfile, treasury: Address) -> list[Read]:
        contract = self.profile.contract
        oracle, provider = contract("aave_oracle"), contract("aave_data_provider")
        collateral, par = contract(terms.collateral), contract(terms.par_token)
        pool = contract(terms.pool)
        return [
            Read(contract("multicall3"), multicall.GET_BLOCK_NUMBER),
            Read(contract("multicall3"), multicall.GET_TIMESTAMP),
            Read(contract("multicall3"), multicall.GET_ETH_BALANCE, (treasury,)),
            Read(oracle, aave.GET_ASSET_PRICE, (collateral,)),
            Read(oracle, aave.GET_ASSET_PRICE, (par,)),
            Read(provider, aave.GET_RESERVE_CONFIGURATION, (collateral,)),
            Read(provider, aave.GET_RESERVE_DATA, (par,)),
            Read(pool, uniswap.SLOT0),
            Read(pool, uniswap.LIQUIDITY),
            Read(pool, uniswap.TICK_SPACING),
            *self.redemption_reads(terms),
        ]

    async def _pool(self, terms: ModuleProfile, reading: PoolReading) -> PoolSnapshot:
        pool = self.profile.contract(terms.pool)
        par, discount = (
            self.profile.contract(terms.par_token),
            self.profile.contract(terms.discount_token),
        )
        zero_for_one = int(par, 16) < int(discount, 16)
        words = words_to_read(reading, zero_for_one=zero_for_one)
        bitmaps = await self.read([Read(pool, uniswap.TICK_BITMAP, (word,)) for word in words])
        ticks = reading.initialized(words, [int(b[0]) for b in bitmaps])
        details = await self.read([Read(pool, uniswap.TICKS, (tick,)) for tick in ticks])
        nets = dict(zip(ticks, (int(detail[1]) for detail in details), strict=True))
        return pool_snapshot(reading, nets, words, terms.pool_fee, zero_for_one=zero_for_one)

    async def read(self, reads: list[Read]) -> list[tuple[Any, ...]]:
        """What these reads return at the newest block. Raises `Unavailable`."""
        if not reads:
            return []
        (answer,) = await self.rpc.batch([self.read_call(reads)])
        return multicall.decode_reads(reads, self.rpc.expect(answer))

    async def _decimals_of(self, terms: ModuleProfile) -> int:
        token = self.profile.contract(terms.par_token)
        if token not in self._decimals:
            discount = self.profile.contract(terms.discount_token)
            (par,), (other,) = await self.read(
                [Read(token, erc20.DECIMALS), Read(discount, erc20.DECIMALS)]
            )
            if par != other or par > 2 * ETHER_DECIMALS:
                raise InvalidConfiguration(
                    "par and discount token do not have the same decimals",
                    field="decimals",
                    value=f"{terms.par_token} and {terms.discount_token}",
                    actual=f"{par} and {other}",
                    next_action="correct the module's tokens in the chain profile",
                )
            self._decimals[token] = par
        return self._decimals[token]


def position_from(account: Address, decimals: int, values: list[tuple[Any, ...]]) -> Position:
    """Build a position from the values of `ChainReader.position_reads`."""
    (block,), (wei,), (weth,), (par,), (discount,), (collateral,), (debt,), data, *prices = values
    return Position(
        account=account,
        block_number=block,
        wei=wei,
        weth=weth,
        par=par,
        discount=discount,
        collateral=collateral,
        debt=debt,
        collateral_usd8=data[0],
        debt_usd8=data[1],
        ether_price_usd8=prices[0][0],
        par_price_usd8=prices[1][0],
        par_decimals=decimals,
        health_factor_wad=data[5] if debt else None,
    )


def redemption_terms(values: list[tuple[Any, ...]]) -> RedemptionTerms:
    """Build the terms from the values of `ChainReader.redemption_reads`."""
    (fee,), (frozen,), (remaining,), (reserve,) = values
    return RedemptionTerms(fee_bps=fee, frozen=frozen, remaining_today=remaining, reserve=reserve)
