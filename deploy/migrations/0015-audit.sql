-- The audit trail: one row for each change that people or the system decided, written in the
-- transaction that makes the change. Rows are only ever added, one after the other, each bound to the
-- one before it by its hash; no role may write them but through the functions here.
--
-- The tables of who may do what, of policies and halts are in `control`, and each of them is watched.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'deal_control') THEN
        CREATE ROLE deal_control LOGIN;
    END IF;
END
$$;

CREATE SCHEMA control;
CREATE SCHEMA audit;

CREATE TABLE audit.events (
    sequence bigint PRIMARY KEY CHECK (sequence >= 1),
    at timestamptz NOT NULL,
    actor text NOT NULL CHECK (actor <> ''),
    actor_kind text NOT NULL CHECK (actor_kind <> ''),
    via text NOT NULL CHECK (via <> ''),
    address text,
    action text NOT NULL CHECK (action <> ''),
    subject_kind text NOT NULL CHECK (subject_kind <> ''),
    subject text NOT NULL CHECK (subject <> ''),
    deal text CHECK (deal <> ''),
    previous_of_deal bigint CHECK (previous_of_deal >= 0),
    bank text,
    why text NOT NULL CHECK (why <> ''),
    request_id text,
    command_id text,
    request_digest text CHECK (request_digest ~ '^[0-9a-f]{64}$'),
    policy_version integer,
    workflow_id text,
    run_id text,
    event bigint,
    transaction_hashes text[],
    change jsonb,
    written_by text NOT NULL,
    content_digest text NOT NULL,
    previous_hash text NOT NULL UNIQUE,
    hash text NOT NULL UNIQUE,
    CHECK ((deal IS NULL) = (previous_of_deal IS NULL)),
    CHECK (transaction_hashes::text ~ '^\{(0x[0-9a-f]{64}(,0x[0-9a-f]{64})*)?\}$')
);

COMMENT ON COLUMN audit.events.actor IS
    'In whose name: a principal, or what acts by itself, such as the deal.';
COMMENT ON COLUMN audit.events.actor_kind IS 'human, service, or system.';
COMMENT ON COLUMN audit.events.via IS 'How it came: cli, api, temporal, or worker.';
COMMENT ON COLUMN audit.events.address IS 'From where, as the network has it.';
COMMENT ON COLUMN audit.events.deal IS 'The deal that it is about, if it is about one.';
COMMENT ON COLUMN audit.events.previous_of_deal IS
    'The sequence of the row before of the same deal, 0 for its first: none can be left out.';
COMMENT ON COLUMN audit.events.event IS
    'How long the workflow''s history was when its task began that made the change.';
COMMENT ON COLUMN audit.events.change IS
    'What was there before and is there after; of an update what differs.';
COMMENT ON COLUMN audit.events.written_by IS 'The role that was logged in to the database.';
COMMENT ON COLUMN audit.events.content_digest IS
    'Over all above but the sequence, in the order of audit.content_of.';
COMMENT ON COLUMN audit.events.hash IS
    'Over "1", sequence, previous_hash and content_digest.';

-- None of them is partial, so that no plan made while the table was small scans another whole.
CREATE INDEX events_by_deal ON audit.events (deal, sequence);
CREATE INDEX events_by_subject ON audit.events (subject_kind, subject, sequence);
CREATE INDEX events_by_actor ON audit.events (actor, sequence);
CREATE INDEX events_by_bank ON audit.events (bank, sequence);
CREATE INDEX events_by_time ON audit.events (at, sequence);

-- Length-prefixed, so that no two different lists of fields have the same text.
CREATE FUNCTION audit.digest(fields text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT encode(sha256(convert_to(string_agg(
        CASE WHEN field IS NULL THEN '-' ELSE octet_length(field) || ':' || field END,
        ',' ORDER BY position), 'UTF8')), 'hex')
    FROM unnest(fields) WITH ORDINALITY AS listed (field, position)
$$;

-- Times are in microseconds since 1970.
CREATE FUNCTION audit.content_of(entry audit.events) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT audit.digest(ARRAY[
        trunc(extract(epoch FROM entry.at) * 1000000)::text,
        entry.actor, entry.actor_kind, entry.via, entry.address, entry.action,
        entry.subject_kind, entry.subject, entry.deal, entry.previous_of_deal::text, entry.bank,
        entry.why, entry.request_id, entry.command_id, entry.request_digest,
        entry.policy_version::text, entry.workflow_id, entry.run_id, entry.event::text,
        entry.transaction_hashes::text, entry.change::text, entry.written_by])
$$;

CREATE FUNCTION audit.hash_of(entry audit.events) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT audit.digest(ARRAY[
        '1', entry.sequence::text, entry.previous_hash, entry.content_digest])
$$;

-- The newest row of a deal; all null if it has none. Compared as a pair, so that no index but that of
-- deals serves: a plan by sequence would read the whole trail for a deal that is new.
CREATE FUNCTION audit.last_of_deal(asked text) RETURNS audit.events
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog SET enable_seqscan = off
AS $$
DECLARE
    found_row audit.events;
    nothing audit.events;
BEGIN
    SELECT * INTO found_row FROM audit.events AS known
        WHERE (known.deal, known.sequence) <= (asked, 9223372036854775807)
        ORDER BY known.deal DESC, known.sequence DESC LIMIT 1;
    IF found_row.deal = asked THEN
        RETURN found_row;
    END IF;
    RETURN nothing;
END
$$;

-- Add a row and return its sequence. `cause` is {who, kind, via, address, why, request_id,
-- command_id}. One writer at a time, to the end of its transaction, so that the sequence has no gap
-- and the chain cannot fork: ask for it as late as possible.
CREATE FUNCTION audit.record(
    cause jsonb,
    action text,
    subject_kind text,
    subject text,
    change jsonb DEFAULT NULL,
    bank text DEFAULT NULL,
    deal text DEFAULT NULL,
    request_digest text DEFAULT NULL,
    policy_version integer DEFAULT NULL,
    workflow_id text DEFAULT NULL,
    run_id text DEFAULT NULL,
    event bigint DEFAULT NULL,
    transaction_hashes text[] DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET timezone = 'UTC'
AS $$
DECLARE
    entry audit.events;
    head audit.events;
BEGIN
    IF coalesce(cause ->> 'who', '') = '' OR coalesce(cause ->> 'kind', '') = ''
        OR coalesce(cause ->> 'via', '') = '' OR coalesce(cause ->> 'why', '') = ''
    THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'cause', DETAIL = subject,
            MESSAGE = format('%s of %s %s needs who, kind, via and why', action, subject_kind, subject);
    END IF;
    entry.actor := cause ->> 'who';
    entry.actor_kind := cause ->> 'kind';
    entry.via := cause ->> 'via';
    entry.address := cause ->> 'address';
    entry.why := cause ->> 'why';
    entry.request_id := cause ->> 'request_id';
    entry.command_id := cause ->> 'command_id';
    entry.action := action;
    entry.subject_kind := subject_kind;
    entry.subject := subject;
    entry.deal := deal;
    entry.bank := coalesce(bank, (
        SELECT known.bank FROM deals.deals AS known WHERE known.deal_id = entry.deal));
    entry.request_digest := request_digest;
    entry.policy_version := policy_version;
    entry.workflow_id := workflow_id;
    entry.run_id := run_id;
    entry.event := event;
    entry.transaction_hashes := transaction_hashes;
    entry.change := change;
    entry.written_by := session_user;
    PERFORM pg_advisory_xact_lock('audit.events'::regclass::oid::bigint);
    SELECT * INTO head FROM audit.events AS latest ORDER BY latest.sequence DESC LIMIT 1;
    entry.sequence := coalesce(head.sequence, 0) + 1;
    entry.previous_hash := coalesce(head.hash, repeat('0', 64));
    entry.at := clock_timestamp();
    IF deal IS NOT NULL THEN
        entry.previous_of_deal := coalesce((audit.last_of_deal(deal)).sequence, 0);
    END IF;
    entry.content_digest := audit.content_of(entry);
    entry.hash := audit.hash_of(entry);
    INSERT INTO audit.events SELECT (entry).*;
    RETURN entry.sequence;
END
$$;

-- Recompute the whole trail: how many rows are good, the hash of the last of them, and of the first
-- that is not, its sequence and what is wrong. A head that was kept earlier must still be a row's
-- hash, or rows were cut off the end, or the trail was written anew.
CREATE FUNCTION audit.verify(kept_head text DEFAULT NULL)
    RETURNS TABLE (good bigint, head text, broken bigint, problem text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
    entry audit.events;
    genesis CONSTANT text := repeat('0', 64);
    seen boolean := kept_head IS NULL OR kept_head = genesis;
BEGIN
    good := 0;
    head := genesis;
    FOR entry IN SELECT * FROM audit.events AS known ORDER BY known.sequence LOOP
        problem := CASE
            WHEN entry.sequence <> good + 1 THEN format('row %s is missing', good + 1)
            WHEN entry.previous_hash IS DISTINCT FROM head
                THEN format('row %s does not follow from the one before', entry.sequence)
            WHEN entry.content_digest IS DISTINCT FROM audit.content_of(entry)
                OR entry.hash IS DISTINCT FROM audit.hash_of(entry)
                THEN format('row %s was changed', entry.sequence)
        END;
        IF problem IS NOT NULL THEN
            broken := good + 1;
            RETURN NEXT;
            RETURN;
        END IF;
        good := entry.sequence;
        head := entry.hash;
        seen := seen OR head = kept_head;
    END LOOP;
    IF NOT seen THEN
        broken := good + 1;
        problem := 'the head that was kept is not in the trail: rows were cut off its end, or it was '
            'written anew';
    END IF;
    RETURN NEXT;
END
$$;

CREATE FUNCTION audit.refuse_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('%s.%s is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME);
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.events
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- What differs between two rows: {before: {...}, after: {...}}, of columns that are not ignored; null
-- if nothing does. Of hidden columns it is told that they differ, and not how.
CREATE FUNCTION audit.difference(old_row jsonb, new_row jsonb, hidden text[], ignored text[])
    RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
    WITH differing AS (
        SELECT name,
            CASE WHEN name = ANY (hidden) THEN '"hidden"' ELSE old_row -> name END AS before,
            CASE WHEN name = ANY (hidden) THEN '"hidden"' ELSE new_row -> name END AS after
        FROM jsonb_object_keys(coalesce(new_row, old_row)) AS name
        WHERE old_row -> name IS DISTINCT FROM new_row -> name AND name <> ALL (ignored)
    )
    SELECT CASE WHEN count(*) > 0 THEN
        CASE WHEN old_row IS NULL THEN '{}'
            ELSE jsonb_build_object('before', jsonb_object_agg(name, before)) END
        || CASE WHEN new_row IS NULL THEN '{}'
            ELSE jsonb_build_object('after', jsonb_object_agg(name, after)) END
    END
    FROM differing
$$;

-- The cause of what nobody asked for in particular: which part of the system did it, and why.
CREATE FUNCTION audit.by_itself(who text, why text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
    SELECT jsonb_build_object('who', who, 'kind', 'system', 'via', 'worker', 'why', why)
$$;

-- The row of the trail for a change of a watched table, see audit.watch.
CREATE FUNCTION audit.note_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    kind text := TG_ARGV[0];
    bank_column text := nullif(TG_ARGV[2], '');
    deal_column text := coalesce(nullif(TG_ARGV[3], ''), 'deal_id');
    by_itself text := nullif(TG_ARGV[6], '');
    cause jsonb := nullif(current_setting('deal.cause', true), '')::jsonb;
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    told jsonb := coalesce(new_row, old_row);
    change jsonb := audit.difference(
        old_row, new_row, string_to_array(TG_ARGV[4], ','), string_to_array(TG_ARGV[5], ','));
BEGIN
    IF change IS NULL THEN
        RETURN NULL;
    END IF;
    IF cause IS NULL AND by_itself IS NOT NULL THEN
        cause := audit.by_itself(session_user, by_itself);
    END IF;
    IF cause IS NULL THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'cause', DETAIL = told ->> TG_ARGV[1],
            MESSAGE = format('a change of %s.%s needs a cause', TG_TABLE_SCHEMA, TG_TABLE_NAME);
    END IF;
    PERFORM audit.record(
        cause,
        coalesce(cause ->> 'action', kind || CASE TG_OP
            WHEN 'INSERT' THEN '.added' WHEN 'UPDATE' THEN '.changed' ELSE '.removed' END),
        kind,
        told ->> TG_ARGV[1],
        change,
        bank => told ->> bank_column,
        deal => CASE WHEN kind = 'deal' THEN told ->> TG_ARGV[1] ELSE told ->> deal_column END,
        request_digest => told ->> 'request_digest',
        policy_version => (told ->> 'policy_version')::integer,
        workflow_id => told ->> 'workflow_id',
        run_id => told ->> 'run_id');
    RETURN NULL;
END
$$;

-- Have every change of a table noted. The cause is what the transaction has set by
-- set_config('deal.cause', ..., true); a change without one is refused. The rows are written when the
-- transaction commits: so the trail's lock is held for no longer than that takes, and is always the
-- last one that is taken. `hidden` columns are not told (what opens something); a change of `ignored`
-- ones alone is none (a time of last use). With `by_itself`, a change without a cause is the system's
-- own, for that reason.
CREATE PROCEDURE audit.watch(
    watched regclass,
    kind text,
    id_column text,
    bank_column text DEFAULT '',
    deal_column text DEFAULT '',
    hidden text[] DEFAULT '{}',
    ignored text[] DEFAULT '{}',
    by_itself text DEFAULT ''
)
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    EXECUTE format(
        'CREATE CONSTRAINT TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON %s'
        ' DEFERRABLE INITIALLY DEFERRED FOR EACH ROW'
        ' EXECUTE FUNCTION audit.note_change(%L, %L, %L, %L, %L, %L, %L)',
        watched, kind, id_column, bank_column, deal_column,
        array_to_string(hidden, ','), array_to_string(ignored, ','), by_itself);
    EXECUTE format(
        'CREATE TRIGGER not_truncated BEFORE TRUNCATE ON %s'
        ' FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', watched);
END
$$;

-- Deals. Whoever changes one says why in the row itself, because it is one statement: a message that
-- the deal was sent, or nothing, and then it was the deal's own doing.
ALTER TABLE deals.deals ADD COLUMN cause jsonb;
COMMENT ON COLUMN deals.deals.cause IS
    'Of this version: domain.causes.Cause. Null if the deal did it by itself.';
GRANT UPDATE (cause) ON deals.deals TO deal_records;

-- What a message says of whoever sent it, or, if its command was written down when he proved who he
-- is, what is known. (The tables that this and the next two ask come with the next migrations.)
CREATE FUNCTION audit.proven(said jsonb, asked_deal text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
    found_cause jsonb;
BEGIN
    SELECT said || jsonb_build_object(
        'who', command.principal_id, 'kind', principal.kind, 'via', command.via,
        'address', command.address, 'why', command.why)
    INTO found_cause
    FROM control.commands AS command JOIN control.principals AS principal USING (principal_id)
    WHERE command.command_id = said ->> 'command_id'
        AND (command.deal_id IS NULL OR command.deal_id = asked_deal);
    RETURN coalesce(found_cause, said);
END
$$;

-- By which version of the policy the deal was admitted; null before it is.
CREATE FUNCTION audit.policy_of(asked text) RETURNS integer
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
    found_version integer;
BEGIN
    SELECT admission.policy_version INTO found_version
    FROM control.admissions AS admission WHERE admission.deal_id = asked;
    RETURN found_version;
END
$$;

-- Who had a deal started: the first command that asked for exactly this deal; null if none is known.
CREATE FUNCTION audit.started_by(deal deals.deals) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
    found_cause jsonb;
BEGIN
    SELECT jsonb_build_object(
        'who', command.principal_id, 'kind', principal.kind, 'via', command.via,
        'address', command.address, 'why', command.why, 'command_id', command.command_id)
    INTO found_cause
    FROM control.commands AS command JOIN control.principals AS principal USING (principal_id)
    WHERE command.subject = deal.deal_id AND command.kind = 'deal.start'
        AND command.request_digest = deal.request_digest AND command.state <> 'REFUSED'
    ORDER BY command.created_at LIMIT 1;
    RETURN found_cause;
END
$$;

CREATE FUNCTION audit.cause_of(deal deals.deals) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
BEGIN
    IF deal.cause IS NOT NULL THEN
        RETURN audit.proven(deal.cause, deal.deal_id);
    END IF;
    RETURN coalesce(
        CASE WHEN deal.version = 1 THEN audit.started_by(deal) END,
        audit.by_itself('deal ' || deal.deal_id, coalesce(nullif(deal.doing, ''), deal.status)));
END
$$;

CREATE FUNCTION audit.note_deal() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM audit.record(
        audit.cause_of(NEW),
        CASE WHEN TG_OP = 'INSERT' OR NEW.status <> OLD.status
            THEN 'deal.' || lower(NEW.status) ELSE 'deal.recorded' END,
        'deal',
        NEW.deal_id,
        audit.difference(
            CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) END, to_jsonb(NEW), '{}',
            '{cause,run_id,history_length}'),
        bank => NEW.bank,
        deal => NEW.deal_id,
        request_digest => NEW.request_digest,
        policy_version => audit.policy_of(NEW.deal_id),
        workflow_id => 'deal-' || NEW.deal_id,
        run_id => nullif(NEW.run_id, ''),
        event => NEW.history_length);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER noted AFTER INSERT OR UPDATE ON deals.deals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_deal();

-- The outcome of a step is in the trail by its digest: what the step says cannot be changed unseen.
CREATE FUNCTION audit.note_step() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    deal deals.deals;
BEGIN
    SELECT * INTO deal FROM deals.deals AS known WHERE known.deal_id = NEW.deal_id;
    PERFORM audit.record(
        audit.by_itself('deal ' || NEW.deal_id, format(
            '%s %s, attempt %s: %s', NEW.step, NEW.round, NEW.attempt,
            coalesce(NEW.problem ->> 'message', 'done'))),
        'deal.step',
        'deal',
        NEW.deal_id,
        jsonb_build_object('step', format('%s/%s/%s', NEW.step, NEW.round, NEW.attempt))
            || audit.difference(
                CASE WHEN TG_OP = 'UPDATE' THEN audit.step_row(OLD) END, audit.step_row(NEW),
                '{}', '{created_at,updated_at}'),
        bank => deal.bank,
        deal => NEW.deal_id,
        request_digest => deal.request_digest,
        policy_version => audit.policy_of(NEW.deal_id),
        workflow_id => 'deal-' || NEW.deal_id,
        run_id => nullif(deal.run_id, ''),
        event => deal.history_length,
        transaction_hashes => ARRAY(
            SELECT inclusion ->> 'transaction_hash'
            FROM jsonb_array_elements(NEW.outcome -> 'inclusions') WITH ORDINALITY
                AS mined (inclusion, number)
            ORDER BY number));
    RETURN NULL;
END
$$;

CREATE FUNCTION audit.step_row(step deals.deal_steps) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog
AS $$
    SELECT to_jsonb(step) - 'outcome' || jsonb_build_object(
        'outcome_digest', encode(sha256(convert_to((step.outcome)::text, 'UTF8')), 'hex'))
$$;
CREATE CONSTRAINT TRIGGER noted AFTER INSERT OR UPDATE ON deals.deal_steps
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_step();

-- Critical operations: asked for by somebody, cancelled by somebody, and between that going on.
CREATE FUNCTION audit.note_operation() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    request jsonb := NEW.view -> 'request';
    said jsonb := audit.by_itself('operation ' || NEW.operation_id,
        coalesce(nullif(NEW.view ->> 'doing', ''), NEW.status));
    mined text[] := ARRAY(SELECT jsonb_array_elements_text(NEW.view -> 'transactions'));
BEGIN
    IF TG_OP = 'INSERT' THEN
        said := jsonb_build_object('who', request ->> 'who', 'kind', 'claimed', 'via', 'temporal',
            'why', request ->> 'why');
    ELSIF NEW.status = 'CANCELLED' AND OLD.status <> 'CANCELLED' THEN
        said := said || jsonb_build_object('who', NEW.view ->> 'cancelled_by', 'kind', 'claimed',
            'via', 'temporal');
    END IF;
    PERFORM audit.record(
        said,
        CASE WHEN TG_OP = 'INSERT' OR NEW.status <> OLD.status
            THEN 'operation.' || lower(NEW.status) ELSE 'operation.recorded' END,
        'operation',
        NEW.operation_id,
        audit.difference(
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.view END, NEW.view, '{}', '{}'),
        workflow_id => 'operation-' || NEW.operation_id,
        transaction_hashes => mined);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER noted AFTER INSERT OR UPDATE ON deals.operations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_operation();

-- Keys and latches tell in their rows who retired, rotated, released, and why.
CREATE FUNCTION audit.note_key_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    owner text := (SELECT known.deal_id FROM signing.accounts AS known WHERE known.address = NEW.address);
BEGIN
    PERFORM audit.record(
        audit.proven(jsonb_build_object('who', NEW.who, 'kind',
            CASE WHEN NEW.who = 'deal ' || owner THEN 'system' ELSE 'claimed' END,
            'via', 'worker', 'why', NEW.why, 'command_id', NEW.event_id), owner),
        'key.' || NEW.kind,
        'key',
        coalesce(NEW.address, NEW.provider),
        audit.difference(NULL, to_jsonb(NEW), '{}', '{}'),
        deal => owner);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER noted AFTER INSERT ON signing.key_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_key_event();

CREATE FUNCTION audit.note_latch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    -- Whatever is told of it, a latch is never held up.
    said jsonb := audit.by_itself('chain worker',
        coalesce(nullif(NEW.problem ->> 'message', ''), 'the chain broke a promise'));
BEGIN
    IF NEW.cleared_at IS NOT NULL THEN
        said := jsonb_build_object('kind', 'claimed', 'via', 'worker',
            'who', coalesce(nullif(NEW.cleared_by, ''), 'nobody named'),
            'why', coalesce(nullif(NEW.cleared_why, ''), 'no reason given'));
    END IF;
    PERFORM audit.record(
        coalesce(nullif(current_setting('deal.cause', true), '')::jsonb, said),
        CASE WHEN NEW.cleared_at IS NULL THEN 'latch.set' ELSE 'latch.cleared' END,
        'chain',
        NEW.chain_id::text,
        audit.difference(
            CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) END, to_jsonb(NEW), '{}', '{}'));
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER noted AFTER INSERT OR UPDATE ON signing.latches
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.note_latch();

-- What the system decides by itself, one row each.
CALL audit.watch('deals.reservations', 'deal', 'deal_id', 'bank',
    by_itself => 'what its bank moves is counted');
CALL audit.watch('transactions.safe_proposals', 'deal', 'deal_id',
    by_itself => 'the owners of the Safe are asked');
CALL audit.watch('signing.accounts', 'key', 'address', by_itself => 'a key is opened');
CALL audit.watch('signing.treasuries', 'deal', 'deal_id', by_itself => 'its treasury is decided for good');
CALL audit.watch('signing.operations', 'operation', 'owner',
    by_itself => 'the signer agrees to what is told to the timelock');
CALL audit.watch('signing.policies', 'signing_policy', 'version', hidden => '{content}',
    by_itself => 'a signer was started with it');

-- One command for many deals: the list that somebody was shown and said yes to. What became of each
-- deal's command is kept with the command.
CREATE TABLE control.batches (
    batch_id text PRIMARY KEY CHECK (batch_id <> ''),
    command text NOT NULL CHECK (command <> ''),
    filter text NOT NULL,
    deals text[] NOT NULL CHECK (cardinality(deals) BETWEEN 1 AND 500),
    digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    principal_id text NOT NULL CHECK (principal_id <> ''),
    why text NOT NULL CHECK (why <> ''),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CALL audit.watch('control.batches', 'batch', 'batch_id');
GRANT SELECT ON control.batches TO deal_control, deal_reader;
GRANT INSERT ON control.batches TO deal_control;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC;
REVOKE ALL ON PROCEDURE audit.watch FROM PUBLIC;
GRANT USAGE ON SCHEMA control TO deal_control, deal_reader, deal_records, deal_engine;
GRANT USAGE ON SCHEMA audit TO deal_control, deal_reader;
GRANT SELECT ON audit.events TO deal_control, deal_reader;
GRANT EXECUTE ON FUNCTION audit.record TO deal_control;
GRANT EXECUTE ON FUNCTION audit.digest, audit.content_of, audit.hash_of, audit.last_of_deal,
    audit.verify
    TO deal_control, deal_reader;
