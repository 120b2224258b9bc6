-- The signer's own schema: which account belongs to which deal, and every decision it ever took.
-- Rows are only ever added. The hash chain and the one-body-per-nonce rule are kept here, so that no
-- mistake in the signer's code can break them.

CREATE SCHEMA signing;

CREATE TABLE signing.accounts (
    deal_id text PRIMARY KEY CHECK (deal_id <> ''),
    key_index integer NOT NULL UNIQUE CHECK (key_index >= 0),
    address text NOT NULL UNIQUE CHECK (address ~ '^0x[0-9a-fA-F]{40}$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON COLUMN signing.accounts.key_index IS
    'The last element of the BIP-44 path, counted from 0 without gaps, never used twice.';

CREATE TABLE signing.journal (
    sequence bigint PRIMARY KEY CHECK (sequence >= 1),
    decided_at timestamptz NOT NULL,
    decision text NOT NULL CHECK (decision IN ('signed', 'refused', 'withheld')),
    batch text NOT NULL,
    intent_id text NOT NULL,
    chain_id numeric NOT NULL,
    account text NOT NULL,
    nonce bigint NOT NULL CHECK (nonce >= 0),
    body_digest text NOT NULL CHECK (body_digest ~ '^[0-9a-f]{64}$'),
    no_op boolean NOT NULL,
    replacement boolean NOT NULL,
    max_fee_per_gas numeric(78, 0) NOT NULL CHECK (max_fee_per_gas >= 0),
    max_priority_fee_per_gas numeric(78, 0) NOT NULL CHECK (max_priority_fee_per_gas >= 0),
    transaction_hash text CHECK (transaction_hash ~ '^0x[0-9a-f]{64}$'),
    rule text,
    reason text,
    content_digest text NOT NULL UNIQUE,
    previous_hash text NOT NULL UNIQUE,
    hash text NOT NULL,
    CHECK ((decision = 'signed') = (transaction_hash IS NOT NULL)),
    CHECK ((decision = 'refused') = (rule IS NOT NULL)),
    CHECK ((decision = 'refused') = (reason IS NOT NULL))
);

COMMENT ON COLUMN signing.journal.account IS 'The sender; fees are in wei per gas.';
COMMENT ON COLUMN signing.journal.replacement IS
    'Signed before with other fees: same intent, same body, same nonce.';
COMMENT ON COLUMN signing.journal.content_digest IS 'SHA-256 over the decision itself.';
COMMENT ON COLUMN signing.journal.hash IS
    'SHA-256 over previous_hash, sequence, decided_at, replacement and content_digest.';

CREATE UNIQUE INDEX journal_one_body_per_nonce ON signing.journal (chain_id, account, nonce)
    WHERE decision = 'signed' AND NOT no_op AND NOT replacement;
CREATE UNIQUE INDEX journal_one_nonce_per_intent ON signing.journal (intent_id)
    WHERE decision = 'signed' AND NOT no_op AND NOT replacement;
CREATE UNIQUE INDEX journal_one_row_per_transaction ON signing.journal (transaction_hash)
    WHERE decision = 'signed';
-- Not partial, so that no plan made while the table was small ever scans one of those above whole.
CREATE INDEX journal_by_nonce ON signing.journal (chain_id, account, nonce);
CREATE INDEX journal_by_intent ON signing.journal (intent_id);

-- Length-prefixed, so that no two different lists of fields have the same text.
CREATE FUNCTION signing.digest(fields text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT encode(sha256(convert_to(string_agg(
        CASE WHEN field IS NULL THEN '-' ELSE octet_length(field) || ':' || field END,
        ',' ORDER BY position), 'UTF8')), 'hex')
    FROM unnest(fields) WITH ORDINALITY AS listed (field, position)
$$;

-- Raise if the intent was withheld, or signed at another nonce. In this and the next function the
-- exception's constraint name is the rule, its detail the intent.
CREATE FUNCTION signing.check_intent(entry signing.journal) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    earlier signing.journal;
BEGIN
    FOR earlier IN SELECT * FROM signing.journal AS known WHERE known.intent_id = entry.intent_id
    LOOP
        IF earlier.decision = 'withheld'
            AND (earlier.body_digest = entry.body_digest OR NOT entry.no_op)
        THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = 'withheld', DETAIL = entry.intent_id,
                MESSAGE = 'it was promised that this intent is never signed';
        END IF;
        IF earlier.decision = 'signed' AND NOT earlier.no_op AND NOT entry.no_op
            AND (earlier.chain_id <> entry.chain_id OR earlier.account <> entry.account
                OR earlier.nonce <> entry.nonce)
        THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = 'intent_moved', DETAIL = entry.intent_id,
                MESSAGE = format('the intent was signed at nonce %s of %s on chain %s',
                    earlier.nonce, earlier.account, earlier.chain_id);
        END IF;
    END LOOP;
END
$$;

-- How an entry uses its nonce: 'first', 'replacement' (other fees) or 'repeat' (the same bytes).
-- Raises if the nonce belongs to another intent or body, or was filled with a no-op. After a no-op
-- only what has left the signer before may be asked for again; anything new would undo it.
CREATE FUNCTION signing.use_of_nonce(entry signing.journal) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    earlier signing.journal;
    found_use text := 'first';
    filled boolean := false;
BEGIN
    FOR earlier IN SELECT * FROM signing.journal AS known
        WHERE known.chain_id = entry.chain_id AND known.account = entry.account
            AND known.nonce = entry.nonce
    LOOP
        CONTINUE WHEN earlier.decision <> 'signed';
        IF NOT earlier.no_op AND NOT entry.no_op AND (earlier.intent_id <> entry.intent_id
            OR earlier.body_digest <> entry.body_digest)
        THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = 'nonce_taken', DETAIL = entry.intent_id,
                MESSAGE = format('nonce %s belongs to intent %s, body %s',
                    entry.nonce, earlier.intent_id, earlier.body_digest);
        END IF;
        IF earlier.transaction_hash = entry.transaction_hash THEN
            found_use := 'repeat';
        ELSIF earlier.no_op = entry.no_op AND found_use = 'first' THEN
            found_use := 'replacement';
        END IF;
        filled := filled OR earlier.no_op;
    END LOOP;
    IF filled AND NOT entry.no_op AND found_use <> 'repeat' THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'nonce_filled', DETAIL = entry.intent_id,
            MESSAGE = format('nonce %s was filled with a no-op', entry.nonce);
    END IF;
    RETURN found_use;
END
$$;

-- Whether a decision that is no signature adds nothing: it is recorded already, or it withholds what
-- was signed. Then it is too late to promise anything: the signature may be out, and may need a
-- higher fee.
CREATE FUNCTION signing.adds_nothing(entry signing.journal) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM FROM signing.journal AS known WHERE known.content_digest = entry.content_digest;
    IF FOUND OR entry.decision = 'refused' THEN
        RETURN FOUND;
    END IF;
    PERFORM FROM signing.journal AS known
        WHERE known.intent_id = entry.intent_id AND known.body_digest = entry.body_digest
            AND known.decision IN ('signed', 'withheld');
    RETURN FOUND;
END
$$;

-- One writer at a time, to the end of its transaction: so the chain cannot fork, and two signers
-- cannot both find a nonce unused. A decision that is in the journal already adds no row.
CREATE FUNCTION signing.append() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    head signing.journal;
    nonce_use text;
BEGIN
    PERFORM pg_advisory_xact_lock(TG_RELID::bigint);
    NEW.content_digest := signing.digest(ARRAY[
        NEW.decision, NEW.batch, NEW.intent_id, NEW.chain_id::text, NEW.account, NEW.nonce::text,
        NEW.body_digest, NEW.no_op::text, NEW.max_fee_per_gas::text,
        NEW.max_priority_fee_per_gas::text, NEW.transaction_hash, NEW.rule, NEW.reason]);
    NEW.replacement := false;
    IF NEW.decision = 'signed' THEN
        PERFORM signing.check_intent(NEW);
        nonce_use := signing.use_of_nonce(NEW);
        IF nonce_use = 'repeat' THEN
            RETURN NULL;
        END IF;
        NEW.replacement := nonce_use = 'replacement';
    ELSIF signing.adds_nothing(NEW) THEN
        RETURN NULL;
    END IF;

    SELECT * INTO head FROM signing.journal AS latest ORDER BY latest.sequence DESC LIMIT 1;
    NEW.sequence := coalesce(head.sequence, 0) + 1;
    NEW.decided_at := clock_timestamp();
    NEW.previous_hash := coalesce(head.hash, repeat('0', 64));
    NEW.hash := signing.digest(ARRAY[
        NEW.previous_hash, NEW.sequence::text,
        ((extract(epoch FROM NEW.decided_at) * 1000000)::bigint)::text,
        NEW.replacement::text, NEW.content_digest]);
    RETURN NEW;
END
$$;

CREATE FUNCTION signing.allocate() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(TG_RELID::bigint);
    IF NEW.key_index <> (SELECT count(*) FROM signing.accounts) THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'next_key_index',
            MESSAGE = format('key index %s is not the next one', NEW.key_index);
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION signing.refuse_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('%s.%s is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME);
END
$$;

CREATE TRIGGER append BEFORE INSERT ON signing.journal
    FOR EACH ROW EXECUTE FUNCTION signing.append();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signing.journal
    FOR EACH STATEMENT EXECUTE FUNCTION signing.refuse_change();
CREATE TRIGGER allocate BEFORE INSERT ON signing.accounts
    FOR EACH ROW EXECUTE FUNCTION signing.allocate();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signing.accounts
    FOR EACH STATEMENT EXECUTE FUNCTION signing.refuse_change();

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA signing FROM PUBLIC;
GRANT USAGE ON SCHEMA signing TO deal_signer;
GRANT SELECT, INSERT ON signing.accounts, signing.journal TO deal_signer;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA signing TO deal_signer;
