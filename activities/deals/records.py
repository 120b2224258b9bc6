"""Writing the records: one statement, one round trip, one version of a deal after the other."""

import json
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb
from temporalio import activity

from activities.database import Pool, connected
from activities.deals.interface import DealRecord, FindDeal, RecordActivities
from domain.errors import Conflict, NotAllowed, NotFound
from domain.views import DealView, StepView

# Inserting and updating are apart because an upsert would run the insert's trigger for both. The
# subselects of the answer see the row as it was before the statement.
_RECORD: Final = """
WITH given AS (
    SELECT * FROM jsonb_populate_record(NULL::deals.deals, %(deal)s)
), added AS (
    INSERT INTO deals.deals SELECT * FROM given WHERE version = 1
    ON CONFLICT (deal_id) DO NOTHING
    RETURNING version
), changed AS (
    UPDATE deals.deals AS deal SET
        status = given.status,
        account = given.account,
        treasury = given.treasury,
        sizing = given.sizing,
        policy_version = given.policy_version,
        desk_approval = given.desk_approval,
        approval = given.approval,
        frozen = given.frozen,
        adoption = given.adoption,
        doing = given.doing,
        problem = given.problem,
        settlement_ether_wei = given.settlement_ether_wei,
        settlement_par = given.settlement_par,
        settlement_profit_usd8 = given.settlement_profit_usd8,
        version = given.version,
        run_id = given.run_id,
        history_length = given.history_length,
        cause = given.cause,
        updated_at = given.updated_at
    FROM given
    WHERE deal.deal_id = given.deal_id
        AND deal.request_digest = given.request_digest
        AND CASE WHEN given.version > deal.version THEN
            given.version = deal.version + 1
            AND (given.run_id <> deal.run_id OR given.history_length >= deal.history_length)
        ELSE
            given.run_id <> deal.run_id OR given.history_length > deal.history_length
        END
    RETURNING deal.version
), written AS (
    SELECT version FROM added UNION ALL SELECT version FROM changed
), step AS (
    INSERT INTO deals.deal_steps AS step (
        deal_id, step, round, attempt, version, started_at, finished_at, first_block, last_block,
        gas_used, gas_cost_wei, ltv_bps, outcome
    )
    SELECT
        given.deal_id, given.step, given.round, given.attempt, written.version, given.started_at,
        given.finished_at, given.first_block, given.last_block, given.gas_used, given.gas_cost_wei,
        given.ltv_bps, given.outcome
    FROM written, jsonb_populate_recordset(NULL::deals.deal_steps, %(steps)s) AS given
    ON CONFLICT (deal_id, step, round, attempt) DO UPDATE SET
        version = excluded.version,
        started_at = excluded.started_at,
        finished_at = excluded.finished_at,
        first_block = excluded.first_block,
        last_block = excluded.last_block,
        gas_used = excluded.gas_used,
        gas_cost_wei = excluded.gas_cost_wei,
        ltv_bps = excluded.ltv_bps,
        outcome = excluded.outcome,
        updated_at = now()
), predicted AS (
    INSERT INTO control.predictions AS known (deal_id, bank, predicted, digest)
    SELECT given.deal_id, given.bank, %(prediction)s::jsonb, %(prediction_digest)s::text
    FROM written, given WHERE %(prediction)s::jsonb IS NOT NULL
    ON CONFLICT (deal_id) DO UPDATE SET
        predicted = excluded.predicted,
        digest = excluded.digest,
        predicted_at = clock_timestamp()
), realised AS (
    UPDATE control.predictions AS known SET
        realised = %(realised)s::jsonb,
        realised_at = clock_timestamp()
    FROM written, given
    WHERE known.deal_id = given.deal_id AND %(realised)s::jsonb IS NOT NULL
)
SELECT
    EXISTS (SELECT FROM written),
    known.version,
    known.request_digest
FROM given LEFT JOIN deals.deals AS known USING (deal_id)
"""


_FIND: Final = """
SELECT to_jsonb(deal) || jsonb_build_object(
    'settlement', NULL,
    'steps', (
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'outcome', outcome, 'started_at', started_at, 'finished_at', finished_at
        ) ORDER BY version), '[]'::jsonb)
        FROM deals.deal_steps AS step WHERE step.deal_id = deal.deal_id
    )
) FROM deals.deals AS deal WHERE deal_id = %s
"""

_WITHOUT: Final = "the records can neither be written nor read now"


class Records(RecordActivities):
    """The records in Postgres, as the role ``deal_records``.

    Open the pool with ``kwargs={"autocommit": True}``: the one statement is atomic by itself, and
    the round trips of BEGIN and COMMIT are saved. It is as correct without.
    """

    def __init__(self, pool: Pool) -> None:
        """Use the connections of an open pool; the caller closes it."""
        self._pool = pool

    @activity.defn
    async def record_deal(self, record: DealRecord) -> None:
        """Write the deal and its step, or nothing if this version is known already.

        The rows of the audit trail come with them, in the same transaction.

        A version that a later workflow task says anew replaces the one recorded, and one that a
        task says which was given up is not heard. Raises `Conflict` (a version in between is
        missing, or the deal id is another request's), `NotAllowed` (the status may not follow the
        one recorded) and `Unavailable`.
        """
        view = record.view
        steps = [] if record.step is None else [_step_row(record.step)]
        parameters = {
            "deal": _jsonb(_deal_row(record)),
            "steps": _jsonb(steps),
            **_predicted(record),
        }
        try:
            async with connected(self._pool, _WITHOUT) as connection:
                answer = await (await connection.execute(_RECORD, parameters)).fetchone()
        except psycopg.errors.CheckViolation as error:
            raise _refused(view, error) from error
        written, version, digest = answer or (False, None, None)
        if not written:
            _ensure_known(view, version, digest)

    @activity.defn
    async def find_deal(self, order: FindDeal) -> DealView:
        """See `RecordActivities.find_deal`; what it was settled with is left out."""
        async with connected(self._pool, _WITHOUT) as connection:
            row = await (await connection.execute(_FIND, (order.deal_id,))).fetchone()
        if row is None:
            raise NotFound(
                f"deal {order.deal_id} is not in the records",
                field="deal_id",
                value=order.deal_id,
                next_action="list deals with `deal list`",
            )
        return DealView.model_validate(row[0])


def _ensure_known(view: DealView, version: int | None, digest: str | None) -> None:
    """Nothing was written: fine for a version that is recorded, an error for any other.

    One that follows the version seen was written by somebody else since then: a retry of an
    attempt that was believed lost.
    """
    if digest is not None and digest != view.request.digest():
        raise Conflict(
            f"deal {view.request.deal_id} is recorded with another request",
            field="deal_id",
            value=view.request.deal_id,
            limit=digest,
            actual=view.request.digest(),
            next_action="compare both with `deal show`; start the new one under another deal id",
        )
    if view.version > (version or 0) + 1:
        raise Conflict(
            f"the records of deal {view.request.deal_id} lack a version in between",
            field="version",
            value=view.version,
            limit=(version or 0) + 1,
            next_action="look at the deal's history for the record_deal that is missing",
        )


def _refused(view: DealView, error: psycopg.errors.CheckViolation) -> NotAllowed:
    return NotAllowed(
        f"the records refuse this version of deal {view.request.deal_id}",
        field="status",
        value=view.status,
        actual=error.diag.message_primary,
        next_action="compare the deal's history with `deal show`",
    )


def _jsonb(value: object) -> Jsonb:
    """Wrap for Postgres, which stores no NUL; a contract's revert text may well contain one."""
    return Jsonb(value, dumps=lambda data: json.dumps(data).replace("\\u0000", "\\ufffd"))


def _deal_row(record: DealRecord) -> dict[str, Any]:
    """The row of `deals.deals`, as JSON."""
    view = record.view
    request = view.request
    fields = view.model_dump(
        mode="json", exclude={"steps", "settlement", "request", "prediction", "realised"}
    )
    settlement = view.settlement
    return fields | {
        "run_id": record.run_id,
        "history_length": record.history_length,
        "cause": record.cause and record.cause.model_dump(mode="json"),
        "deal_id": request.deal_id,
        "bank": request.bank,
        "module": request.module,
        "chain_id": request.chain_id,
        "working_liquidity": request.working_liquidity.units,
        "max_ltv": str(request.max_ltv),
        "max_slippage": str(request.max_slippage),
        "cycles": request.cycles,
        "mode": request.mode,
        "request": request.model_dump(mode="json"),
        "request_digest": request.digest(),
        "settlement_ether_wei": settlement and settlement.ether_wei,
        "settlement_par": settlement and settlement.par,
        "settlement_profit_usd8": settlement and settlement.profit_usd8,
    }


def _predicted(record: DealRecord) -> dict[str, Any]:
    """The columns of `control.predictions`; nothing is written of what is None."""
    prediction, realised = record.prediction, record.realised
    return {
        "prediction": prediction and Jsonb(prediction.model_dump(mode="json")),
        "prediction_digest": prediction and prediction.digest(),
        "realised": realised and Jsonb(realised.model_dump(mode="json")),
    }


def _step_row(step: StepView) -> dict[str, Any]:
    """The row of `deals.deal_steps`, as JSON; the statement adds the version."""
    outcome = step.outcome
    blocks = [inclusion.block_number for inclusion in outcome.inclusions]
    return {
        **outcome.key.model_dump(mode="json"),
        "started_at": step.started_at.isoformat(),
        "finished_at": step.finished_at.isoformat(),
        "first_block": min(blocks, default=None),
        "last_block": max(blocks, default=None),
        "gas_used": outcome.gas_used,
        "gas_cost_wei": outcome.gas_cost_wei,
        "ltv_bps": outcome.position.ltv_bps,
        "outcome": outcome.model_dump(mode="json"),
    }
