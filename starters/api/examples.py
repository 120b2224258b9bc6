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
DRY_RUN: Final[dict[str, Any]] = {
    "dry_run": True,
    "request": _REQUEST,
    "sizing": {
        "wrap_wei": "10000000000000000000",
        "gas_reserve_wei": "100000000000000000",
        "borrow": "5000000001",
        "par_decimals": 6,
        "cycles": 1,
        "bound_by": "exposure",
        "expected_ltv_bps": 2500,
        "expected_exposure_bps": 2499,
        "expected_gas_wei": "1000000000000000",
        "expected_interest": "1234",
        "expected_profit_usd8": "12345678901",
    },
    "prediction": {
        "steps": [
            {
                "step": "swap",
                "round": 1,
                "transactions": 2,
                "gas": 210000,
                "gas_cost_wei": "420000000000000",
                "ltv_bps": 2500,
                "slippage_bps": 3,
                "estimated": False,
            }
        ],
        "gas": 1100000,
        "gas_cost_wei": "2200000000000000",
        "max_slippage_bps": 3,
        "max_ltv_bps": 2500,
        "max_exposure_bps": 2499,
        "duration_seconds": 60,
        "profit_usd8": "12345678901",
        "chain_id": 138,
        "block_number": 90,
        "block_hash": "0x" + "ad" * 32,
        "timestamp": 1795694400,
        "gas_price_wei": "2000000000",
        "pool_price_e18": "1015000000000000000",
    },
    "prediction_digest": "ef" * 32,
    "outlook": {
        "allowed": True,
        "problem": None,
        "policy_version": 1,
        "rule": "traders",
        "approvals_needed": 0,
        "approver_group": None,
        "value_usd8": "3030000000000",
        "together_usd8": "3030000000000",
        "owners_decide": False,
    },
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
    "nonce": 4,
    "state": "BROADCAST",
    "transaction_hash": HASH,
    "action": "bump",
    "note": "sent to 2 endpoints",
}
CHAIN_RELEASED: Final[dict[str, Any]] = {
    "chain_id": 138,
    "cleared": True,
    "problem": {
        "code": "outcome_unknown",
        "message": "block 90 is another now",
        "field": None,
        "value": None,
        "limit": None,
        "actual": None,
        "headroom": None,
        "next_action": "look at the deals, then release the chain",
    },
}
BINDING: Final = "cd" * 32
ASKED_OF_DESK: Final[dict[str, Any]] = {
    "needed": 1,
    "group": None,
    "initiator": "trader",
    "value_usd8": "210000000000000",
    "request_digest": "ab" * 32,
    "policy_version": 1,
    "prediction_digest": "ef" * 32,
    "binding_digest": BINDING,
    "expires_at": "2026-11-28T16:00:00Z",
    "given": [
        {"approver": "approver-1", "on_behalf_of": None, "at": _AT, "why": "looked at the dry run"}
    ],
    "rejected": None,
    "missing": 0,
}
_OWNERS: Final[dict[str, Any]] = {
    "proposal": {
        "deal_id": "alpha",
        "bank": "bank-one",
        "request_digest": "ab" * 32,
        "number": 1,
        "transaction": {
            "chain_id": 138,
            "safe": TREASURY,
            "to": ACCOUNT,
            "value": "700000000000000000000",
            "data": "0x",
            "operation": 0,
            "safe_tx_gas": "0",
            "base_gas": "0",
            "gas_price": "0",
            "gas_token": None,
            "refund_receiver": None,
            "nonce": "3",
        },
        "transaction_hash": HASH,
        "threshold": 2,
        "owners": [ACCOUNT, TREASURY],
        "value_usd8": "210000000000000",
        "together_usd8": "210000000000000",
        "since_block": 90,
        "expires_at": "2026-11-28T16:00:00Z",
    },
    "signed": [{"owner": ACCOUNT, "who": "approver-1", "at": _AT}],
    "note": "",
}
ASKED_OF_OWNERS: Final[dict[str, Any]] = {
    "deal_id": "alpha",
    "approval": _OWNERS,
    "needed": 1,
    "missing": [TREASURY],
}
APPROVALS: Final[dict[str, Any]] = {
    "deal_id": "alpha",
    "status": "AWAITING_APPROVAL",
    "desk": ASKED_OF_DESK | {"given": [], "missing": 1},
    "approval": None,
    "needed": None,
    "missing": None,
    "source": "records",
    "as_of": _AT,
    "age_seconds": 2.5,
}
OWNER_SIGNATURE: Final[dict[str, Any]] = {
    "owner": ACCOUNT,
    "signature": "0x" + "1b" * 65,
    "transaction_hash": HASH,
}
HALT: Final[dict[str, Any]] = {
    "scope": "bank=bank-one",
    "state": "HALTED",
    "who": "risk-1",
    "why": "volatile market",
    "since": _AT,
    "set_by": ["risk-1"],
    "version": 1,
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
