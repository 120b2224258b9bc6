-- Critical operations: their records, and what the signer has agreed to under each name.

CREATE TABLE deals.operations (
    operation_id text PRIMARY KEY CHECK (operation_id <> ''),
    chain_id bigint NOT NULL CHECK (chain_id > 0),
    kind text NOT NULL CHECK (kind IN (
        'treasury', 'destination', 'safe_owner', 'redemption_fee', 'redemption_cap')),
    status text NOT NULL CHECK (status IN (
        'REQUESTED', 'WAITING', 'EXECUTING', 'DONE', 'CANCELLED', 'FAILED')),
    version integer NOT NULL CHECK (version > 0),
    view jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

COMMENT ON COLUMN deals.operations.view IS 'domain.operations.OperationView.';

CREATE INDEX operations_by_time ON deals.operations (created_at DESC);

GRANT SELECT ON deals.operations TO deal_records, deal_reader;
GRANT INSERT ON deals.operations TO deal_records;
GRANT UPDATE (status, version, view, updated_at) ON deals.operations TO deal_records;

-- One operation a name, for ever: what was scheduled first is all that can be executed, not before its
-- delay is over by the signer's own clock, and not after it was cancelled. Rows are only added.
CREATE TABLE signing.operations (
    owner text NOT NULL CHECK (owner <> ''),
    step text NOT NULL CHECK (step IN ('schedule', 'revoke')),
    chain_id bigint NOT NULL CHECK (chain_id > 0),
    timelock_id text NOT NULL CHECK (timelock_id ~ '^0x[0-9a-f]{64}$'),
    delay_seconds bigint NOT NULL CHECK (delay_seconds >= 0),
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, step)
);

COMMENT ON COLUMN signing.operations.owner IS 'The name that its batches begin with.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signing.operations
    FOR EACH STATEMENT EXECUTE FUNCTION signing.refuse_change();

GRANT SELECT, INSERT ON signing.operations TO deal_signer;
