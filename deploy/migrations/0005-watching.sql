-- What the engine keeps to watch over what is out: no-ops, blocks that are final, alerts, latches,
-- notices to deals, and what each chain looked like a moment ago.

-- A no-op that takes the place of an intent is one more attempt at the same nonce: what is mined
-- decides which of them it was.
ALTER TABLE transactions.attempts ADD COLUMN no_op boolean NOT NULL DEFAULT false;
ALTER TABLE transactions.attempts
    DROP CONSTRAINT attempts_intent_id_max_fee_per_gas_wei_max_priority_fee_per_key;
ALTER TABLE transactions.attempts ADD CONSTRAINT one_attempt_a_price
    UNIQUE (intent_id, no_op, max_fee_per_gas_wei, max_priority_fee_per_gas_wei);

CREATE FUNCTION transactions.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('%s.%s is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME);
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON transactions.attempts
    FOR EACH STATEMENT EXECUTE FUNCTION transactions.refuse_change();

-- Whether it had its effect, which its state no longer tells once it is final.
ALTER TABLE transactions.intents ADD COLUMN succeeded boolean;

-- What a batch was ordered with: the same key with another order is a conflict.
ALTER TABLE transactions.batches ADD COLUMN order_digest text;

-- What an intent is never changes, so nobody may change it.
REVOKE UPDATE ON transactions.accounts, transactions.intents FROM deal_engine;
GRANT UPDATE (next_nonce, updated_at) ON transactions.accounts TO deal_engine;
GRANT UPDATE (
    state, block_number, block_hash, mined_hash, succeeded, gas_used, effective_gas_price_wei
) ON transactions.intents TO deal_engine;

COMMENT ON COLUMN transactions.intents.block_number IS
    'The block that holds it; while it is UNKNOWN, the head at which its nonce was found used.';
COMMENT ON COLUMN transactions.intents.mined_hash IS
    'The attempt that was mined; kept when its block is undone. None for a REPLACED intent means '
    'that somebody else used its nonce.';

CREATE INDEX unsettled_intents ON transactions.intents (chain_id, block_number)
    WHERE state IN ('SIGNED', 'BROADCAST', 'UNKNOWN', 'INCLUDED', 'REVERTED', 'REPLACED');
CREATE INDEX final_intents ON transactions.intents (chain_id, block_number DESC)
    WHERE state = 'FINALIZED';

-- The newest block of a chain that was called final. Another block at its number is a broken promise.
CREATE TABLE transactions.checkpoints (
    chain_id bigint PRIMARY KEY,
    block_number bigint NOT NULL CHECK (block_number >= 0),
    block_hash text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One open row for each thing that a person should know of.
CREATE TABLE transactions.alerts (
    alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN (
        'fee_cap', 'foreign_nonce', 'nonce_gap', 'unknown', 'reorg', 'contradiction',
        'head_stalled', 'latch', 'unsent'
    )),
    subject text NOT NULL,
    problem jsonb NOT NULL,
    raised_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    cleared_at timestamptz
);
CREATE UNIQUE INDEX one_open_alert ON transactions.alerts (chain_id, kind, subject)
    WHERE cleared_at IS NULL;
CREATE INDEX alerts_by_time ON transactions.alerts (raised_at DESC);

-- What deals have to be told of their transactions, written with the change that it tells of.
CREATE TABLE transactions.notices (
    notice_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id bigint NOT NULL,
    deal_id text NOT NULL,
    notice jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz
);
CREATE INDEX unsent_notices ON transactions.notices (chain_id, notice_id) WHERE sent_at IS NULL;

-- What the watching process last saw, and until when it is the one that watches.
CREATE TABLE transactions.chain_status (
    chain_id bigint PRIMARY KEY,
    observed jsonb NOT NULL DEFAULT '{}',
    watcher text NOT NULL,
    watches_until timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT ON transactions.checkpoints, transactions.alerts, transactions.notices,
    transactions.chain_status TO deal_engine, deal_reader;
GRANT INSERT ON transactions.checkpoints, transactions.alerts, transactions.notices,
    transactions.chain_status TO deal_engine;
GRANT UPDATE (block_number, block_hash, updated_at) ON transactions.checkpoints TO deal_engine;
GRANT UPDATE (problem, seen_at, cleared_at) ON transactions.alerts TO deal_engine;
GRANT UPDATE (sent_at) ON transactions.notices TO deal_engine;
GRANT UPDATE (observed, watcher, watches_until, updated_at) ON transactions.chain_status
    TO deal_engine;

-- A chain that took back what it had called final: nothing new is signed on it until a person has
-- looked. It is kept where the signer can see it, which sees nothing else of the engine.
CREATE TABLE signing.latches (
    latch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id bigint NOT NULL,
    problem jsonb NOT NULL,
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cleared_at timestamptz,
    cleared_by text,
    cleared_why text,
    CHECK (num_nulls(cleared_at, cleared_by, cleared_why) IN (0, 3))
);
CREATE UNIQUE INDEX one_latch_a_chain ON signing.latches (chain_id) WHERE cleared_at IS NULL;

CREATE FUNCTION signing.check_latch() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF OLD.cleared_at IS NOT NULL THEN
        RAISE insufficient_privilege USING MESSAGE = 'a latch is cleared once';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER cleared_once BEFORE UPDATE ON signing.latches
    FOR EACH ROW EXECUTE FUNCTION signing.check_latch();

GRANT USAGE ON SCHEMA signing TO deal_engine, deal_reader;
GRANT SELECT ON signing.latches TO deal_engine, deal_signer, deal_reader;
GRANT INSERT (chain_id, problem, cleared_at, cleared_by, cleared_why) ON signing.latches
    TO deal_engine;
GRANT UPDATE (cleared_at, cleared_by, cleared_why) ON signing.latches TO deal_engine;

-- The journal asks for the latch in the same statement that records the signature, so no signature
-- can slip through between looking and signing. Bytes that left the signer before may be had again.
CREATE FUNCTION signing.refuse_latched() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.decision = 'signed'
        AND EXISTS (
            SELECT FROM signing.latches AS latch
            WHERE latch.chain_id = NEW.chain_id AND latch.cleared_at IS NULL
        )
        AND NOT EXISTS (
            SELECT FROM signing.journal AS known
            WHERE known.transaction_hash = NEW.transaction_hash AND known.decision = 'signed'
        )
    THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'chain_latched', DETAIL = NEW.intent_id,
            MESSAGE = format('chain %s is latched', NEW.chain_id);
    END IF;
    RETURN NEW;
END
$$;
-- By name it fires before "append".
CREATE TRIGGER a_latched_chain BEFORE INSERT ON signing.journal
    FOR EACH ROW EXECUTE FUNCTION signing.refuse_latched();
REVOKE ALL ON FUNCTION signing.refuse_latched(), signing.check_latch() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing.refuse_latched() TO deal_signer;
GRANT EXECUTE ON FUNCTION signing.check_latch() TO deal_engine;

-- What was final goes back to being sent only after a latch was cleared: by then a person has
-- accepted the chain as it is now, or its profile says that it may forget.
INSERT INTO transactions.intent_transitions (before, after) VALUES ('FINALIZED', 'BROADCAST');

CREATE FUNCTION transactions.check_definalized() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM signing.latches AS latch
        WHERE latch.chain_id = OLD.chain_id AND latch.cleared_at >= OLD.updated_at
    ) THEN
        RAISE check_violation USING
            MESSAGE = format('intent %s is final, and no latch of its chain was cleared since',
                OLD.intent_id);
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER definalized BEFORE UPDATE ON transactions.intents
    FOR EACH ROW WHEN (OLD.state = 'FINALIZED' AND NEW.state = 'BROADCAST')
    EXECUTE FUNCTION transactions.check_definalized();
