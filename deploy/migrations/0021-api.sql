-- Answers that were given to requests with an Idempotency-Key, so that who asks again gets the same.
-- They change nothing that is controlled, so they are not in the audit trail: what was done is.
CREATE TABLE control.requests (
    principal_id text NOT NULL CHECK (principal_id <> ''),
    key_hash text NOT NULL CHECK (key_hash ~ '^[0-9a-f]{64}$'),
    request_digest text NOT NULL CHECK (request_digest ~ '^[0-9a-f]{64}$'),
    holder uuid,
    held_until timestamptz,
    status integer CHECK (status BETWEEN 200 AND 499),
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (principal_id, key_hash),
    CONSTRAINT under_way_or_answered CHECK (
        num_nonnulls(holder, held_until) IN (0, 2)
        AND num_nonnulls(status, answer) IN (0, 2)
        AND (status IS NULL OR holder IS NULL)
    )
);

COMMENT ON COLUMN control.requests.key_hash IS
    'SHA-256 of the Idempotency-Key: the answer is encrypted with what is derived from the key itself.';
COMMENT ON COLUMN control.requests.request_digest IS
    'SHA-256 of method, path, query and body: another one under the same key is refused.';
COMMENT ON COLUMN control.requests.holder IS
    'The request that is being worked on; after held_until its process counts as dead.';

CREATE INDEX requests_by_time ON control.requests (created_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON control.requests TO deal_control;
