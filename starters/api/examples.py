"""What requests and answers look like, for the API's document; a test holds them to the schemas."""

from typing import Any, Final

_AT: Final = "2026-11-28T12:00:00Z"
ACCOUNT: Final = "0x426984B5e152D67A4Bb99B1cb070aa2fd8522107"
TREASURY: Final = "0x26048D9A17A902bE4828aF5Dd89Cb4297A05A3ab"
HASH: Final = "0x" + "ad" * 32

START: Final[dict[str, Any]] = {
    "deal_id": "alpha",
    "bank": "bank-one",
    "module": "usdtz",
    "chain_id": 138,
    "working_liquidity": "10",
    "max_ltv": "0.30",
    "max_slippage": "0.005",
    "cycles": 1,
    "mode": "stepwise",
}
REASON: Final[dict[str, Any]] = {"reason": "volatile market"}

_REQUEST: Final[dict[str, Any]] = START | {
    "working_liquidity": {"units": "10000000000000000000", "decimals": 18}
}
DEAL: Final[dict[str, Any]] = {
    "request": _REQUEST,
    "status": "EXECUTING",
    "version": 3,
    "doing": "collateralize 1",
    "account": ACCOUNT,
    "treasury": TREASURY,
    "steps": [],
    "created_at": _AT,
    "updated_at": _AT,
    "source": "records",
    "as_of": _AT,
    "age_seconds": 0.4,
    "web_ui": None,
}
DEALS: Final[dict[str, Any]] = {
    "source": "records",
    "as_of": _AT,
    "deals": [{name: value for name, value in DEAL.items() if name != "steps"}],
    "next_cursor": "WyIyMDI2LTExLTI4VDEyOjAwOjAwKzAwOjAwIiwiYWxwaGEiXQ",
}
EVENTS: Final = (
    f'id: 3\nevent: change\ndata: {{"status": "EXECUTING", "version": 3}}\n\n: {_AT}\n\n'
)

INTENT: Final[dict[str, Any]] = {
    "intent_id": "alpha/swap/1/1/0",
    "deal_id": "alpha",
    "chain_id": 138,
    "account": ACCOUNT,
    "nonce": 4,
    "purpose": "approve the pool",
    "state": "BROADCAST",
    "block_number": None,
    "created_at": _AT,
    "updated_at": _AT,
    "age_seconds": 3.2,
}
INTENTS: Final[dict[str, Any]] = {
    "source": "records",
    "as_of": _AT,
    "transactions": [
        INTENT
        | {
            "attempt_count": 1,
            "max_fee_per_gas": "2000000000",
            "max_priority_fee_per_gas": "1000000000",
        }
    ],
    "next_cursor": None,
}
INTENT_DETAIL: Final[dict[str, Any]] = INTENT | {
    "batch_key": "alpha/swap/1/1",
    "to": TREASURY,
    "value": "0",
    "data": "0x",
    "gas_limit": 60000,
    "body_digest": "ab" * 32,
    "block_hash": None,
    "mined_hash": None,
    "gas_used": None,
    "effective_gas_price": None,
    "succeeded": None,
    "deal_status": "EXECUTING",
    "bank": "bank-one",
    "problem": None,
    "attempts": [],
    "alerts": [],
    "to_name": "uniswap_router",
    "call": None,
    "source": "records",
    "as_of": _AT,
}
TRANSACTION: Final[dict[str, Any]] = {
    "intent_id": "alpha/swap/1/1/0",
    "state": "BROADCAST",
}
CHAINS: Final[dict[str, Any]] = {
    "source": "records",
    "as_of": _AT,
    "chains": [
        {
            "chain_id": 138,
            "name": "local-138",
            "observed": None,
            "updated_at": None,
            "age_seconds": None,
            "stale": True,
            "stale_after_seconds": 10,
            "max_fee_per_gas_wei": "200000000000",
            "above_cap": False,
            "alerts": [],
            "latches": [],
        }
    ],
}
_POLICY: Final[dict[str, Any]] = {
    "version": 1,
    "rules": [
        {
            "name": "traders",
            "effect": "allow",
            "roles": ["trader", "senior_trader"],
            "max_usd": "5000000",
        },
        {"name": "everything-else", "effect": "deny"},
    ],
    "approvals": {"expiry_seconds": 14400, "tiers": [{"above_usd": "2000000", "needed": 1}]},
    "velocity": [{"per": "user", "window_seconds": 3600, "max_deals": 20, "max_usd": "10000000"}],
}
POLICY: Final[dict[str, Any]] = {
    "policy": _POLICY,
    "version": 1,
    "digest": "ab" * 32,
    "based_on": None,
    "state": "ACTIVE",
    "proposed_by": "risk-1",
    "proposed_at": _AT,
    "why": "the first one",
    "approved_by": "risk-2",
    "rejected_by": None,
    "decided_at": _AT,
    "decided_why": "looked at it",
    "retired_at": None,
    "etag": '"1-' + "ab" * 32 + '"',
}
LIMITS: Final[dict[str, Any]] = {
    "policy_version": 1,
    "max_ltv_bps": 3000,
    "max_exposure_bps": 2500,
    "max_slippage_bps": 500,
    "max_cycles": 20,
    "max_working_liquidity_wei": "1000000000000000000000000",
    "approvals": _POLICY["approvals"],
    "velocity": _POLICY["velocity"],
    "as_of": _AT,
}
WHOAMI: Final[dict[str, Any]] = {
    "principal": "trader",
    "kind": "human",
    "roles": ["trader"],
    "banks": ["bank-one"],
    "max_deal_usd8": "500000000000000",
    "groups": [],
    "permissions": ["deals.read", "deals.start"],
    "credential": "key:k23456789012",
    "address": "192.0.2.1",
}
OPERATION: Final[dict[str, Any]] = {
    "request": {
        "operation_id": "lower-fee",
        "chain_id": 138,
        "module": "usdtz",
        "change": {"kind": "redemption_fee", "fee_bps": 5},
        "delay_seconds": 172800,
        "who": "admin-1",
        "why": "agreed terms",
    },
    "status": "WAITING",
    "version": 2,
    "doing": "waits for the delay",
    "title": "redemption fee of usdtz on chain 138",
    "before": "0",
    "after": "5",
    "created_at": _AT,
    "updated_at": _AT,
}
AUDIT_ROW: Final[dict[str, Any]] = {
    "sequence": 1204,
    "at": _AT,
    "actor": "trader",
    "action": "deal.pause",
    "deal": "alpha",
    "bank": "bank-one",
    "why": "volatile market",
    "hash": "ab" * 32,
}
