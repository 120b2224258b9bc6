-- The transaction engine: batches, their intents, and the attempts that were signed for them.
CREATE SCHEMA transactions;

-- The next nonce of every account that ever sent; the row is the lock under which nonces are given.
CREATE TABLE transactions.accounts (
    chain_id bigint NOT NULL CHECK (chain_id > 0),
    address text NOT NULL CHECK (address ~ '^0x[0-9a-fA-F]{40}$'),
    next_nonce bigint NOT NULL CHECK (next_nonce >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (chain_id, address)
);

CREATE TABLE transactions.batches (
    batch_key text PRIMARY KEY,
    deal_id text NOT NULL,
    chain_id bigint NOT NULL,
    prepared jsonb NOT NULL,
    digest text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX batches_by_deal ON transactions.batches (deal_id);

CREATE TABLE transactions.intent_transitions (
    before text NOT NULL,
    after text NOT NULL,
    PRIMARY KEY (before, after)
);
INSERT INTO transactions.intent_transitions (before, after) VALUES
    ('PREPARED', 'SIGNED'),
    ('PREPARED', 'ABANDONED'),
    ('SIGNED', 'BROADCAST'),
    ('BROADCAST', 'INCLUDED'),
    ('BROADCAST', 'REVERTED'),
    ('BROADCAST', 'UNKNOWN'),
    ('BROADCAST', 'REPLACED'),
    ('UNKNOWN', 'BROADCAST'),
    ('UNKNOWN', 'INCLUDED'),
    ('UNKNOWN', 'REVERTED'),
    ('UNKNOWN', 'REPLACED'),
    ('INCLUDED', 'FINALIZED'),
    ('INCLUDED', 'BROADCAST'),
    ('REVERTED', 'FINALIZED'),
    ('REVERTED', 'BROADCAST'),
    ('REPLACED', 'FINALIZED'),
    ('REPLACED', 'BROADCAST');

-- TransactionIntent: what must happen once. Its nonce is its own for ever.
CREATE TABLE transactions.intents (
    intent_id text PRIMARY KEY,
    batch_key text NOT NULL REFERENCES transactions.batches,
    deal_id text NOT NULL,
    chain_id bigint NOT NULL,
    sender text NOT NULL,
    nonce bigint NOT NULL CHECK (nonce >= 0),
    to_address text NOT NULL,
    value_wei numeric(78, 0) NOT NULL CHECK (value_wei >= 0),
    data bytea NOT NULL,
    gas_limit bigint NOT NULL CHECK (gas_limit > 0),
    purpose text NOT NULL,
    body_digest text NOT NULL,
    state text NOT NULL DEFAULT 'PREPARED' CHECK (
        state IN ('PREPARED', 'SIGNED', 'BROADCAST', 'INCLUDED', 'REVERTED', 'FINALIZED',
                  'UNKNOWN', 'REPLACED', 'ABANDONED')
    ),
    block_number bigint,
    block_hash text,
    mined_hash text,
    gas_used bigint,
    effective_gas_price_wei numeric(78, 0),
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (chain_id, sender) REFERENCES transactions.accounts (chain_id, address),
    CHECK ((state IN ('INCLUDED', 'REVERTED', 'FINALIZED')) <= (block_hash IS NOT NULL))
);
-- Two intents never share a nonce; an abandoned one was never signed and has given its back.
CREATE UNIQUE INDEX one_intent_a_nonce ON transactions.intents (chain_id, sender, nonce)
    WHERE state <> 'ABANDONED';
CREATE INDEX intents_by_deal ON transactions.intents (deal_id);
CREATE INDEX intents_by_batch ON transactions.intents (batch_key);
CREATE INDEX open_intents ON transactions.intents (chain_id, sender, nonce)
    WHERE state NOT IN ('FINALIZED', 'ABANDONED');

-- Attempt: signed bytes of an intent. Saved before they are sent, never changed, never deleted.
CREATE TABLE transactions.attempts (
    transaction_hash text PRIMARY KEY,
    intent_id text NOT NULL REFERENCES transactions.intents,
    raw bytea NOT NULL,
    max_fee_per_gas_wei numeric(78, 0) NOT NULL,
    max_priority_fee_per_gas_wei numeric(78, 0) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (intent_id, max_fee_per_gas_wei, max_priority_fee_per_gas_wei)
);

CREATE FUNCTION transactions.check_intent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.intent_id, NEW.batch_key, NEW.chain_id, NEW.sender, NEW.nonce, NEW.body_digest)
        IS DISTINCT FROM
       (OLD.intent_id, OLD.batch_key, OLD.chain_id, OLD.sender, OLD.nonce, OLD.body_digest) THEN
        RAISE EXCEPTION 'intent % cannot change what it is', OLD.intent_id
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT FROM transactions.intent_transitions t
        WHERE t.before = OLD.state AND t.after = NEW.state
    ) THEN
        RAISE EXCEPTION 'intent % cannot go from % to %', OLD.intent_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    NEW.version := OLD.version + 1;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER intent_changes BEFORE UPDATE ON transactions.intents
    FOR EACH ROW EXECUTE FUNCTION transactions.check_intent();

GRANT USAGE ON SCHEMA transactions TO deal_engine, deal_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA transactions TO deal_engine, deal_reader;
GRANT INSERT ON transactions.accounts, transactions.batches, transactions.intents,
    transactions.attempts TO deal_engine;
GRANT UPDATE ON transactions.accounts, transactions.intents TO deal_engine;
