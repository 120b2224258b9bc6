-- The records of deals: what lists, reports and alerts read. The workflows write them through one
-- activity, one version of a deal after the other; the rules below hold even if that code is wrong.
--
-- Amounts are smallest units (wei, token units) or 1e-8 USD; ratios are decimals; times are UTC.

CREATE SCHEMA deals;

-- The same table as domain.deals.ALLOWED_TRANSITIONS; a test compares the two.
CREATE TABLE deals.allowed_transitions (
    before text NOT NULL,
    after text NOT NULL,
    PRIMARY KEY (before, after)
);

INSERT INTO deals.allowed_transitions (before, after) VALUES
    ('REQUESTED', 'DENIED'),
    ('REQUESTED', 'AWAITING_APPROVAL'),
    ('REQUESTED', 'EXECUTING'),
    ('REQUESTED', 'UNWINDING'),
    ('AWAITING_APPROVAL', 'REJECTED'),
    ('AWAITING_APPROVAL', 'EXPIRED'),
    ('AWAITING_APPROVAL', 'EXECUTING'),
    ('EXECUTING', 'PAUSED'),
    ('EXECUTING', 'FROZEN'),
    ('EXECUTING', 'UNWINDING'),
    ('EXECUTING', 'COMPLETED'),
    ('PAUSED', 'EXECUTING'),
    ('PAUSED', 'UNWINDING'),
    ('FROZEN', 'EXECUTING'),
    ('FROZEN', 'UNWINDING'),
    ('UNWINDING', 'UNWOUND'),
    ('UNWINDING', 'STUCK'),
    ('STUCK', 'UNWINDING');

CREATE TABLE deals.deals (
    deal_id text PRIMARY KEY,
    bank text NOT NULL,
    module text NOT NULL,
    chain_id bigint NOT NULL CHECK (chain_id > 0),
    status text NOT NULL CHECK (status IN (
        'REQUESTED', 'DENIED', 'AWAITING_APPROVAL', 'REJECTED', 'EXPIRED', 'EXECUTING',
        'PAUSED', 'FROZEN', 'UNWINDING', 'COMPLETED', 'UNWOUND', 'STUCK'
    )),
    account text,
    treasury text,
    working_liquidity numeric(78, 0) NOT NULL CHECK (working_liquidity > 0),
    max_ltv numeric(5, 4) NOT NULL CHECK (max_ltv > 0 AND max_ltv <= 0.30),
    max_slippage numeric(5, 4) NOT NULL CHECK (max_slippage > 0 AND max_slippage <= 0.05),
    cycles smallint NOT NULL CHECK (cycles > 0),
    mode text NOT NULL CHECK (mode IN ('stepwise', 'pipelined')),
    request jsonb NOT NULL,
    request_digest text NOT NULL CHECK (request_digest ~ '^[0-9a-f]{64}$'),
    sizing jsonb,
    doing text NOT NULL,
    problem jsonb,
    settlement_ether_wei numeric(78, 0),
    settlement_par numeric(78, 0),
    settlement_profit_usd8 numeric(78, 0),
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT settlement_is_whole CHECK (
        num_nulls(settlement_ether_wei, settlement_par, settlement_profit_usd8) IN (0, 3)
    )
);

-- Lists go newest first and page on (created_at, deal_id), which is unique, whatever they filter.
CREATE INDEX deals_by_time ON deals.deals (created_at DESC, deal_id DESC);
CREATE INDEX deals_by_status ON deals.deals (status, created_at DESC, deal_id DESC);
CREATE INDEX deals_by_bank ON deals.deals (bank, created_at DESC, deal_id DESC);
CREATE INDEX deals_by_chain ON deals.deals (chain_id, created_at DESC, deal_id DESC);

-- One row a finished batch. `outcome` is the whole of it, transactions and their receipts included;
-- the columns beside it are what reports add up.
CREATE TABLE deals.deal_steps (
    deal_id text NOT NULL REFERENCES deals.deals,
    step text NOT NULL CHECK (step IN (
        'fund', 'wrap', 'collateralize', 'borrow', 'swap', 'redeem', 'top_up', 'unwind', 'settle',
        'sweep'
    )),
    round integer NOT NULL CHECK (round > 0),
    attempt integer NOT NULL CHECK (attempt > 0),
    version integer NOT NULL CHECK (version > 0),
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    first_block bigint,
    last_block bigint CHECK (last_block >= first_block),
    gas_used bigint NOT NULL CHECK (gas_used >= 0),
    gas_cost_wei numeric(78, 0) NOT NULL CHECK (gas_cost_wei >= 0),
    ltv_bps integer NOT NULL CHECK (ltv_bps >= 0),
    outcome jsonb NOT NULL,
    problem jsonb GENERATED ALWAYS AS (NULLIF(outcome -> 'problem', 'null'::jsonb)) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (deal_id, step, round, attempt)
);

CREATE INDEX deal_steps_by_time ON deals.deal_steps (finished_at DESC);

CREATE FUNCTION deals.check_first_record() RETURNS trigger
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF NEW.version <> 1 THEN
        RAISE EXCEPTION 'the first record of deal % has version %', NEW.deal_id, NEW.version
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> 'REQUESTED' AND NOT EXISTS (
        SELECT FROM deals.allowed_transitions
        WHERE before = 'REQUESTED' AND after = NEW.status
    ) THEN
        RAISE EXCEPTION 'deal % cannot begin as %', NEW.deal_id, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION deals.check_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'deal % cannot go from version % to %',
            OLD.deal_id, OLD.version, NEW.version
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT EXISTS (
        SELECT FROM deals.allowed_transitions
        WHERE before = OLD.status AND after = NEW.status
    ) THEN
        RAISE EXCEPTION 'deal % cannot go from % to %', OLD.deal_id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER first_record BEFORE INSERT ON deals.deals
    FOR EACH ROW EXECUTE FUNCTION deals.check_first_record();
CREATE TRIGGER change BEFORE UPDATE ON deals.deals
    FOR EACH ROW EXECUTE FUNCTION deals.check_change();

GRANT USAGE ON SCHEMA deals TO deal_records, deal_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA deals TO deal_records, deal_reader;
GRANT INSERT ON deals.deals, deals.deal_steps TO deal_records;

-- What was asked for never changes, so nobody may change it.
GRANT UPDATE (
    status, account, treasury, sizing, doing, problem, settlement_ether_wei, settlement_par,
    settlement_profit_usd8, version, updated_at
) ON deals.deals TO deal_records;
GRANT UPDATE (
    version, started_at, finished_at, first_block, last_block, gas_used, gas_cost_wei, ltv_bps,
    outcome, updated_at
) ON deals.deal_steps TO deal_records;
