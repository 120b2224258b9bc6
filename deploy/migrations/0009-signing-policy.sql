-- The policies that decisions were taken by, what each decision moves, and how much may be signed.

-- Every policy that a signer has run with, whole. The digest stands in each row of the journal.
CREATE TABLE signing.policies (
    version integer PRIMARY KEY CHECK (version >= 1),
    digest text NOT NULL UNIQUE,
    content text NOT NULL,
    first_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What the content says, so that the limits cannot be others than those of the digest.
    deal_signatures bigint NOT NULL GENERATED ALWAYS AS
        ((content::jsonb #>> '{policy,rates,deal_signatures}')::bigint) STORED,
    deal_usd8 numeric NOT NULL GENERATED ALWAYS AS
        ((content::jsonb #>> '{policy,rates,deal_usd}')::numeric) STORED,
    hour_signatures bigint NOT NULL GENERATED ALWAYS AS
        ((content::jsonb #>> '{policy,rates,hour_signatures}')::bigint) STORED,
    hour_usd8 numeric NOT NULL GENERATED ALWAYS AS
        ((content::jsonb #>> '{policy,rates,hour_usd}')::numeric) STORED,
    deal_refusals bigint NOT NULL GENERATED ALWAYS AS
        ((content::jsonb #>> '{policy,rates,deal_refusals_an_hour}')::bigint) STORED,
    unknown_refusals bigint NOT NULL GENERATED ALWAYS AS
        ((content::jsonb #>> '{policy,rates,unknown_refusals_an_hour}')::bigint) STORED,
    CHECK (digest = encode(sha256(convert_to(content, 'UTF8')), 'hex'))
);

COMMENT ON COLUMN signing.policies.content IS
    'The document as JSON with sorted keys, and the addresses that its names stand for.';

CREATE FUNCTION signing.check_policy() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(TG_RELID::bigint);
    PERFORM FROM signing.policies AS known WHERE known.version > NEW.version;
    IF FOUND THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'policy_older', MESSAGE = 'a newer version has been in force';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_policy BEFORE INSERT ON signing.policies
    FOR EACH ROW EXECUTE FUNCTION signing.check_policy();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signing.policies
    FOR EACH STATEMENT EXECUTE FUNCTION signing.refuse_change();

-- What the deal bids at most, in wei per gas, as it was asked for when its account was opened.
ALTER TABLE signing.accounts
    ADD COLUMN max_fee_per_gas numeric(78, 0) CHECK (max_fee_per_gas > 0);

-- Rows of before have version 1 of the hash, and none of the rest.
ALTER TABLE signing.journal
    ADD COLUMN hash_version smallint NOT NULL DEFAULT 1,
    ADD COLUMN policy_version integer,
    ADD COLUMN policy_digest text CHECK (policy_digest ~ '^[0-9a-f]{64}$'),
    ADD COLUMN usd8 numeric(78, 0) CHECK (usd8 >= 0),
    ADD COLUMN rated boolean,
    ADD COLUMN total_signatures bigint,
    ADD COLUMN total_usd8 numeric,
    ADD COLUMN deal_signatures bigint,
    ADD COLUMN deal_usd8 numeric,
    ADD COLUMN deal_refusals bigint,
    ADD COLUMN unknown_refusals bigint,
    ADD CONSTRAINT complete CHECK (hash_version = 1 OR num_nulls(policy_version, policy_digest,
        usd8, rated, total_signatures, total_usd8, deal_signatures, deal_usd8, deal_refusals,
        unknown_refusals) = 0);

COMMENT ON COLUMN signing.journal.usd8 IS
    'What it moves, in 1e-8 US dollars at the prices of the policy; 0 if it was not decoded.';
COMMENT ON COLUMN signing.journal.rated IS
    'Whether the rates count it: a first signature of what puts money at risk.';
COMMENT ON COLUMN signing.journal.total_signatures IS
    'How many rated signatures there were up to and with this row; total_usd8 is their value, '
    'deal_signatures and deal_usd8 the same of the deal alone. An hour''s are a difference.';
COMMENT ON COLUMN signing.journal.deal_refusals IS
    'How many refusals of the deal there were up to and with this row; unknown_refusals of all '
    'requests for deals without an account.';

CREATE INDEX journal_by_deal ON signing.journal ((split_part(batch, '/', 1)), sequence);
CREATE INDEX journal_by_time ON signing.journal (decided_at, sequence);

-- The newest row of the deal that an entry belongs to; all null if it has none. Compared as a pair,
-- so that no index but that of deals serves: a plan by sequence would read the whole journal for a
-- deal that is new.
CREATE FUNCTION signing.last_of_deal(entry signing.journal) RETURNS signing.journal
    LANGUAGE plpgsql SET search_path = pg_catalog SET enable_seqscan = off
AS $$
DECLARE
    found_row signing.journal;
    nothing signing.journal;
    deal text := split_part(entry.batch, '/', 1);
BEGIN
    SELECT * INTO found_row FROM signing.journal AS known
        WHERE (split_part(known.batch, '/', 1), known.sequence) <= (deal, 9223372036854775807)
        ORDER BY split_part(known.batch, '/', 1) DESC, known.sequence DESC LIMIT 1;
    IF split_part(found_row.batch, '/', 1) = deal THEN
        RETURN found_row;
    END IF;
    RETURN nothing;
END
$$;

-- The newest row that is an hour old; all null if there is none.
CREATE FUNCTION signing.an_hour_ago(now timestamptz) RETURNS signing.journal
    LANGUAGE plpgsql SET search_path = pg_catalog SET enable_seqscan = off
AS $$
DECLARE
    found_row signing.journal;
BEGIN
    SELECT * INTO found_row FROM signing.journal AS known
        WHERE known.decided_at <= now - interval '1 hour'
        ORDER BY known.decided_at DESC, known.sequence DESC LIMIT 1;
    RETURN found_row;
END
$$;

-- Raise if a rated entry, whose totals it is part of already, is more than the policy allows. The
-- exception's constraint name is the rule, its detail the intent.
CREATE FUNCTION signing.check_rates(entry signing.journal, policy signing.policies) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    before signing.journal;
    hour_signatures bigint;
    hour_usd8 numeric;
    rule text;
    actual numeric;
BEGIN
    before := signing.an_hour_ago(entry.decided_at);
    hour_signatures := entry.total_signatures - coalesce(before.total_signatures, 0);
    hour_usd8 := entry.total_usd8 - coalesce(before.total_usd8, 0);
    SELECT limits.rule, limits.actual INTO rule, actual FROM (VALUES
        ('rate_deal_signatures', entry.deal_signatures::numeric, policy.deal_signatures::numeric),
        ('rate_deal_usd', entry.deal_usd8, policy.deal_usd8),
        ('rate_hour_signatures', hour_signatures::numeric, policy.hour_signatures::numeric),
        ('rate_hour_usd', hour_usd8, policy.hour_usd8)
    ) AS limits (rule, actual, maximum) WHERE limits.actual > limits.maximum LIMIT 1;
    IF rule IS NOT NULL THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = rule, DETAIL = entry.intent_id, MESSAGE = format('with it: %s', actual);
    END IF;
END
$$;

-- How many refusals there were in the last hour, with this one: of the deal, or of all deals that
-- have no account.
CREATE FUNCTION signing.refusals_in_the_hour(entry signing.journal, known boolean) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog SET enable_seqscan = off
AS $$
DECLARE
    before signing.journal;
BEGIN
    IF NOT known THEN
        before := signing.an_hour_ago(entry.decided_at);
        RETURN entry.unknown_refusals - coalesce(before.unknown_refusals, 0);
    END IF;
    -- Reads no more of the deal's rows than the last hour has.
    SELECT * INTO before FROM signing.journal AS earlier
        WHERE (split_part(earlier.batch, '/', 1), earlier.sequence)
                <= (split_part(entry.batch, '/', 1), 9223372036854775807)
            AND (earlier.decided_at <= entry.decided_at - interval '1 hour'
                OR split_part(earlier.batch, '/', 1) <> split_part(entry.batch, '/', 1))
        ORDER BY split_part(earlier.batch, '/', 1) DESC, earlier.sequence DESC LIMIT 1;
    IF split_part(before.batch, '/', 1) = split_part(entry.batch, '/', 1) THEN
        RETURN entry.deal_refusals - coalesce(before.deal_refusals, 0);
    END IF;
    RETURN entry.deal_refusals;
END
$$;

CREATE FUNCTION signing.content_of(entry signing.journal) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    RETURN signing.digest(ARRAY[
        entry.decision, entry.batch, entry.intent_id, entry.chain_id::text, entry.account,
        entry.nonce::text, entry.body_digest, entry.no_op::text, entry.max_fee_per_gas::text,
        entry.max_priority_fee_per_gas::text, entry.transaction_hash, entry.rule, entry.reason,
        entry.policy_version::text, entry.policy_digest, entry.usd8::text]);
END
$$;

-- One writer at a time, to the end of its transaction: so the chain cannot fork, two signers cannot
-- both find a nonce unused, and not both the last place under a rate. A decision that is in the
-- journal already adds no row; nor does a refusal when there were too many within the hour.
CREATE OR REPLACE FUNCTION signing.append() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    head signing.journal;
    mine signing.journal;
    policy signing.policies;
    nonce_use text;
    known boolean;
    refusals bigint;
    most_refusals bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(TG_RELID::bigint);
    NEW.hash_version := 2;
    NEW.content_digest := signing.content_of(NEW);
    NEW.replacement := false;
    SELECT * INTO policy FROM signing.policies AS latest ORDER BY latest.version DESC LIMIT 1;
    IF NEW.decision = 'signed' THEN
        PERFORM signing.check_intent(NEW);
        nonce_use := signing.use_of_nonce(NEW);
        IF nonce_use = 'repeat' THEN
            RETURN NULL;
        END IF;
        NEW.replacement := nonce_use = 'replacement';
        IF NEW.policy_digest IS DISTINCT FROM policy.digest THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = 'policy_superseded', DETAIL = NEW.intent_id,
                MESSAGE = format('version %s is in force', policy.version);
        END IF;
    ELSIF signing.adds_nothing(NEW) THEN
        RETURN NULL;
    END IF;

    SELECT * INTO head FROM signing.journal AS latest ORDER BY latest.sequence DESC LIMIT 1;
    mine := head;
    IF split_part(head.batch, '/', 1) IS DISTINCT FROM split_part(NEW.batch, '/', 1) THEN
        mine := signing.last_of_deal(NEW);
    END IF;
    NEW.sequence := coalesce(head.sequence, 0) + 1;
    NEW.decided_at := clock_timestamp();
    NEW.previous_hash := coalesce(head.hash, repeat('0', 64));
    NEW.rated := coalesce(NEW.rated, false) AND nonce_use IS NOT DISTINCT FROM 'first'
        AND NOT NEW.no_op;
    NEW.total_signatures := coalesce(head.total_signatures, 0);
    NEW.total_usd8 := coalesce(head.total_usd8, 0);
    NEW.deal_signatures := coalesce(mine.deal_signatures, 0);
    NEW.deal_usd8 := coalesce(mine.deal_usd8, 0);
    NEW.deal_refusals := coalesce(mine.deal_refusals, 0);
    NEW.unknown_refusals := coalesce(head.unknown_refusals, 0);
    IF NEW.rated THEN
        NEW.total_signatures := NEW.total_signatures + 1;
        NEW.total_usd8 := NEW.total_usd8 + NEW.usd8;
        NEW.deal_signatures := NEW.deal_signatures + 1;
        NEW.deal_usd8 := NEW.deal_usd8 + NEW.usd8;
        PERFORM signing.check_rates(NEW, policy);
    ELSIF NEW.decision = 'refused' THEN
        known := EXISTS (SELECT FROM signing.accounts AS account
            WHERE account.deal_id = split_part(NEW.batch, '/', 1));
        NEW.deal_refusals := NEW.deal_refusals + 1;
        NEW.unknown_refusals := NEW.unknown_refusals + (NOT known)::int;
        refusals := signing.refusals_in_the_hour(NEW, known);
        most_refusals := CASE WHEN known THEN policy.deal_refusals ELSE policy.unknown_refusals END;
        IF refusals > most_refusals THEN
            RETURN NULL;
        ELSIF refusals = most_refusals THEN
            NEW.reason := NEW.reason || '; further refusals within the hour are in the log only';
            NEW.content_digest := signing.content_of(NEW);
        END IF;
    END IF;
    NEW.hash := signing.digest(ARRAY[
        '2', NEW.previous_hash, NEW.sequence::text,
        ((extract(epoch FROM NEW.decided_at) * 1000000)::bigint)::text,
        NEW.replacement::text, NEW.content_digest, NEW.rated::text, NEW.total_signatures::text,
        NEW.total_usd8::text, NEW.deal_signatures::text, NEW.deal_usd8::text,
        NEW.deal_refusals::text, NEW.unknown_refusals::text]);
    RETURN NEW;
END
$$;

COMMENT ON COLUMN signing.journal.hash IS
    'SHA-256 over previous_hash, sequence, decided_at, replacement, content_digest, and, from '
    'version 2 on, the version, rated and the counts.';

REVOKE ALL ON FUNCTION signing.check_policy(), signing.content_of(signing.journal), signing.last_of_deal(signing.journal),
    signing.an_hour_ago(timestamptz), signing.check_rates(signing.journal, signing.policies),
    signing.refusals_in_the_hour(signing.journal, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing.check_policy(), signing.content_of(signing.journal), signing.last_of_deal(signing.journal),
    signing.an_hour_ago(timestamptz), signing.check_rates(signing.journal, signing.policies),
    signing.refusals_in_the_hour(signing.journal, boolean) TO deal_signer;
GRANT SELECT, INSERT ON signing.policies TO deal_signer;
