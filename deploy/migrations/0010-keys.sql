-- Keys have a purpose, a generation (which seed they come of) and a key store. What becomes of them
-- is added as events; rows are only ever added here too.

ALTER TABLE signing.accounts
    DROP CONSTRAINT accounts_pkey,
    DROP CONSTRAINT accounts_key_index_key,
    DROP CONSTRAINT accounts_address_key,
    ALTER COLUMN deal_id DROP NOT NULL,
    -- The defaults are what every key was before there was a choice.
    ADD COLUMN purpose text NOT NULL DEFAULT 'deal' CHECK (purpose IN ('deal', 'treasury', 'fee')),
    ADD COLUMN generation integer NOT NULL DEFAULT 1 CHECK (generation >= 1),
    ADD COLUMN provider text NOT NULL DEFAULT 'local'
        CHECK (provider IN ('local', 'vault', 'pkcs11'));
ALTER TABLE signing.accounts
    ADD COLUMN label text NOT NULL
        GENERATED ALWAYS AS (purpose || '-' || generation::text || '-' || key_index::text) STORED,
    ADD PRIMARY KEY (address),
    ADD CONSTRAINT one_key_a_deal UNIQUE (deal_id),
    ADD CONSTRAINT one_account_a_key UNIQUE (provider, purpose, generation, key_index),
    ADD CONSTRAINT deals_have_deal_keys CHECK ((purpose = 'deal') = (deal_id IS NOT NULL));

COMMENT ON COLUMN signing.accounts.key_index IS
    'The last element of the BIP-44 path; of deals counted from 0 without gaps, never used twice.';
COMMENT ON COLUMN signing.accounts.generation IS
    'Which seed the key comes of, counted from 1; an HSM has it in its labels only.';
COMMENT ON COLUMN signing.accounts.label IS 'The name of the key pair in an HSM.';

CREATE UNIQUE INDEX one_deal_an_index ON signing.accounts (key_index) WHERE purpose = 'deal';

CREATE OR REPLACE FUNCTION signing.allocate() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(TG_RELID::bigint);
    IF NEW.key_index <> (
        SELECT count(*) FROM signing.accounts AS known
        WHERE known.purpose = 'deal' AND NEW.purpose = 'deal'
    ) THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'next_key_index',
            MESSAGE = format('key index %s is not the next one', NEW.key_index);
    END IF;
    RETURN NEW;
END
$$;

CREATE TABLE signing.key_events (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL UNIQUE CHECK (event_id <> ''),
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL
        CHECK (kind IN ('retired', 'reinstated', 'seed_rotated', 'wrapping_rotated')),
    address text,
    provider text NOT NULL CHECK (provider IN ('local', 'vault', 'pkcs11')),
    generation integer CHECK (generation >= 1),
    who text NOT NULL CHECK (who <> ''),
    why text NOT NULL CHECK (why <> ''),
    CHECK ((kind IN ('retired', 'reinstated')) = (address IS NOT NULL)),
    CHECK ((kind = 'seed_rotated') = (generation IS NOT NULL))
);

COMMENT ON COLUMN signing.key_events.event_id IS 'Of the request: the same one adds no second row.';
COMMENT ON COLUMN signing.key_events.generation IS 'The generation that a rotation began.';

CREATE INDEX key_events_by_address ON signing.key_events (address, sequence);

CREATE FUNCTION signing.is_retired(account text) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT coalesce((
        SELECT event.kind = 'retired' FROM signing.key_events AS event
        WHERE event.address = account ORDER BY event.sequence DESC LIMIT 1), false)
$$;

-- The treasury and the fee account serve all deals; only a deal's key has an end.
CREATE FUNCTION signing.check_key_event() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF NEW.address IS NOT NULL THEN
        PERFORM FROM signing.accounts AS known
        WHERE known.address = NEW.address AND known.purpose = 'deal';
        IF NOT FOUND THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = 'only_deals_retire',
                MESSAGE = format('%s is not the account of a deal', NEW.address);
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- In the same statement that records the signature, so that no signer can have looked too early. A
-- batch's name begins with its deal, so the treasury does not pay for a deal that has ended either.
CREATE FUNCTION signing.refuse_retired() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF NEW.decision = 'signed' AND (signing.is_retired(NEW.account) OR EXISTS (
        SELECT FROM signing.accounts AS known
        WHERE known.deal_id = split_part(NEW.batch, '/', 1) AND signing.is_retired(known.address)))
    THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'key_retired', DETAIL = NEW.intent_id,
            MESSAGE = format('the key of deal %s is retired', split_part(NEW.batch, '/', 1));
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER check_key_event BEFORE INSERT ON signing.key_events
    FOR EACH ROW EXECUTE FUNCTION signing.check_key_event();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signing.key_events
    FOR EACH STATEMENT EXECUTE FUNCTION signing.refuse_change();
CREATE TRIGGER a_retired_key BEFORE INSERT ON signing.journal
    FOR EACH ROW EXECUTE FUNCTION signing.refuse_retired();

-- For key stores that sign the same bytes differently each time: the signature that left the signer,
-- so that the same request gets the same bytes again.
CREATE TABLE signing.signatures (
    signing_hash text PRIMARY KEY CHECK (signing_hash ~ '^0x[0-9a-f]{64}$'),
    transaction_hash text NOT NULL CHECK (transaction_hash ~ '^0x[0-9a-f]{64}$'),
    raw text NOT NULL CHECK (raw ~ '^0x([0-9a-f]{2})+$'),
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signing.signatures
    FOR EACH STATEMENT EXECUTE FUNCTION signing.refuse_change();

REVOKE ALL ON FUNCTION signing.is_retired(text), signing.check_key_event(),
    signing.refuse_retired() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing.is_retired(text), signing.check_key_event(),
    signing.refuse_retired() TO deal_signer;
GRANT SELECT, INSERT ON signing.key_events, signing.signatures TO deal_signer;
