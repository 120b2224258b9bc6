-- Halts: how far trading is stopped for the desk, a bank, a chain or a module. What a halt stops is
-- refused where it would be recorded, by the database itself; what leads out passes always.

-- The same steps as domain.halts.RISK_INCREASING; a test compares the two.
CREATE TABLE control.risk_increasing_steps (
    step text PRIMARY KEY
);
INSERT INTO control.risk_increasing_steps (step) VALUES
    ('fund'), ('run'), ('wrap'), ('collateralize'), ('borrow'), ('swap');

-- One row a scope that was ever halted. A scope is written as domain.halts.Scope writes it.
CREATE TABLE control.halts (
    scope text PRIMARY KEY CHECK (
        scope ~ '^(desk|(bank|module)=[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|chain=[1-9][0-9]{0,18})$'
    ),
    bank text GENERATED ALWAYS AS (
        CASE WHEN starts_with(scope, 'bank=') THEN substr(scope, 6) END
    ) STORED,
    state text NOT NULL CHECK (state IN ('ACTIVE', 'REDUCING', 'HALTED')),
    who text NOT NULL CHECK (who <> ''),
    why text NOT NULL CHECK (why <> ''),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    set_by text[] NOT NULL DEFAULT '{}',
    version integer NOT NULL DEFAULT 1 CHECK (version > 0)
);

COMMENT ON COLUMN control.halts.set_by IS
    'Who made it stricter since it was last active: none of them may move it back.';
COMMENT ON COLUMN control.halts.version IS 'How often it was changed; the trail has each change.';

CREATE FUNCTION control.strictness(state text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT array_position(ARRAY['ACTIVE', 'REDUCING', 'HALTED'], state)
$$;

-- Whoever writes here says only scope, state, who and why; the rest follows. The one who is named is
-- the one in whose name the transaction is, so that nobody can release as somebody else.
CREATE FUNCTION control.check_halt() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    cause jsonb := nullif(current_setting('deal.cause', true), '')::jsonb;
    before_state text := 'ACTIVE';
    before_set_by text[] := '{}';
BEGIN
    IF NEW.who IS DISTINCT FROM cause ->> 'who' THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'halt_in_own_name', DETAIL = NEW.scope,
            MESSAGE = format('%s changes a halt in the name of %s', cause ->> 'who', NEW.who);
    END IF;
    NEW.version := 1;
    NEW.since := clock_timestamp();
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version + 1;
        before_state := OLD.state;
        before_set_by := OLD.set_by;
    END IF;
    IF control.strictness(NEW.state) = control.strictness(before_state) THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'halt_changes', DETAIL = NEW.scope,
            MESSAGE = format('%s is %s already', NEW.scope, NEW.state);
    END IF;
    IF control.strictness(NEW.state) > control.strictness(before_state) THEN
        NEW.set_by := CASE WHEN NEW.who = ANY (before_set_by) THEN before_set_by
            ELSE before_set_by || NEW.who END;
    ELSIF NEW.who = ANY (before_set_by) THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'released_by_another', DETAIL = NEW.scope,
            MESSAGE = format('%s has halted %s, and does not release it', NEW.who, NEW.scope);
    ELSE
        NEW.set_by := CASE WHEN NEW.state = 'ACTIVE' THEN '{}' ELSE before_set_by END;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER halted BEFORE INSERT OR UPDATE ON control.halts
    FOR EACH ROW EXECUTE FUNCTION control.check_halt();
CALL audit.watch('control.halts', 'halt', 'scope', 'bank');

-- The halt that counts for a deal: the strictest of those that cover it, of equals the one set first;
-- none if it may go on. Of a bank or module that is not known every halt counts.
CREATE FUNCTION control.halt_of(asked_bank text, asked_chain numeric, asked_module text)
    RETURNS SETOF control.halts
    LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT * FROM control.halts AS known
    WHERE known.state <> 'ACTIVE' AND (
        known.scope IN ('desk', 'chain=' || asked_chain, 'bank=' || asked_bank,
            'module=' || asked_module)
        OR (asked_bank IS NULL AND starts_with(known.scope, 'bank='))
        OR (asked_module IS NULL AND starts_with(known.scope, 'module=')))
    ORDER BY control.strictness(known.state) DESC, known.since, known.scope LIMIT 1
$$;

CREATE FUNCTION control.trading_state(asked_bank text, asked_chain numeric, asked_module text)
    RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT coalesce(
        (SELECT state FROM control.halt_of(asked_bank, asked_chain, asked_module)), 'ACTIVE')
$$;

-- For whom a batch is, as it was ordered with: that is known here before the records have it.
ALTER TABLE transactions.batches ADD COLUMN bank text, ADD COLUMN module text;

COMMENT ON COLUMN transactions.batches.bank IS
    'Of the order; none in batches of before, and in those that are no deal''s.';

-- The halt that stops a batch; none if its step adds no risk. SECURITY DEFINER, as the engine does not
-- see the records, by which batches of before are known.
CREATE FUNCTION transactions.halt_of(asked_batch text) RETURNS SETOF control.halts
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$
    SELECT stopping.*
    FROM transactions.batches AS b
    JOIN control.risk_increasing_steps AS s ON s.step = split_part(b.batch_key, '/', 2)
    LEFT JOIN deals.deals AS d USING (deal_id)
    CROSS JOIN LATERAL control.halt_of(
        coalesce(b.bank, d.bank), b.chain_id, coalesce(b.module, d.module)) AS stopping
    WHERE b.batch_key = asked_batch AND split_part(b.batch_key, '/', 5) = ''
$$;

-- Why a deal that was admitted may not add risk by these wei any more; null if it may. Its admission
-- has to stand: counted, of the request that the deal has, approved by as many as it needs and rejected
-- by none. What funds and wraps is no more than was admitted: the working liquidity, and the gas reserve
-- that sizing gave on top. Deals from before there were admissions have none.
CREATE FUNCTION control.not_admitted(asked_deal text, asked_step text, asked_wei numeric) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    admitted control.admissions;
    recorded deals.deals;
    most_wei numeric;
BEGIN
    SELECT * INTO admitted FROM control.admissions AS known WHERE known.deal_id = asked_deal;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO recorded FROM deals.deals AS known WHERE known.deal_id = asked_deal;
    most_wei := recorded.working_liquidity + CASE asked_step
        WHEN 'fund' THEN coalesce((recorded.sizing ->> 'gas_reserve_wei')::numeric, 0) ELSE 0 END;
    RETURN CASE
        WHEN admitted.released_at IS NOT NULL THEN 'it is not counted any more'
        WHEN recorded.request_digest IS DISTINCT FROM admitted.request_digest
            THEN 'the deal has another request'
        WHEN EXISTS (SELECT FROM control.approvals AS given
            WHERE given.deal_id = asked_deal AND given.decision = 'rejected') THEN 'it was rejected'
        WHEN admitted.approvals_needed > (SELECT count(*) FROM control.approvals AS given
            WHERE given.deal_id = asked_deal AND given.binding_digest = admitted.binding_digest)
            THEN format('it needs %s approvals', admitted.approvals_needed)
        WHEN asked_step IN ('fund', 'wrap') AND asked_wei > most_wei
            THEN format('%s wei are more than the %s that were admitted', asked_wei, most_wei)
    END;
END
$$;

-- Raise as 'halted': the hint is the trading state, the column what is halted.
CREATE FUNCTION control.refuse(intent text, stopping control.halts) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    RAISE integrity_constraint_violation USING
        CONSTRAINT = 'halted', DETAIL = intent, HINT = stopping.state, COLUMN = stopping.scope,
        MESSAGE = format('%s %s by %s: %s', stopping.scope,
            CASE stopping.state WHEN 'HALTED' THEN 'halted' ELSE 'reducing' END,
            stopping.who, stopping.why);
END
$$;

-- No new attempt of a step that adds risk is saved under a halt, or when the deal's admission does not
-- stand, so none is sent for the first time. No-ops take nothing, and bytes that were saved before are
-- no new attempt.
CREATE FUNCTION transactions.refuse_halted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    intent transactions.intents;
    asked_step text;
    stopping control.halts;
    missing text;
BEGIN
    SELECT * INTO intent FROM transactions.intents AS i WHERE i.intent_id = NEW.intent_id;
    asked_step := split_part(intent.batch_key, '/', 2);
    IF NEW.no_op OR split_part(intent.batch_key, '/', 5) = 'fill'
        OR NOT EXISTS (SELECT FROM control.risk_increasing_steps AS s WHERE s.step = asked_step)
        OR EXISTS (SELECT FROM transactions.attempts AS known
            WHERE known.transaction_hash = NEW.transaction_hash)
    THEN
        RETURN NEW;
    END IF;
    IF EXISTS (SELECT FROM control.halts AS h WHERE h.state <> 'ACTIVE') THEN
        SELECT * INTO stopping FROM transactions.halt_of(intent.batch_key);
        IF stopping.scope IS NOT NULL THEN
            PERFORM control.refuse(NEW.intent_id, stopping);
        END IF;
    END IF;
    missing := control.not_admitted(intent.deal_id, asked_step, intent.value_wei);
    IF missing IS NOT NULL THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'not_admitted', DETAIL = NEW.intent_id,
            MESSAGE = format('the admission of deal %s does not stand: %s', intent.deal_id, missing);
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER halted BEFORE INSERT ON transactions.attempts
    FOR EACH ROW EXECUTE FUNCTION transactions.refuse_halted();

-- The signer asks as well, for what it signs for the first time: by the step that it has held the
-- calls to, and by the records' bank and module, as it is told neither.
CREATE FUNCTION signing.refuse_halted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    recorded record;
    stopping control.halts;
BEGIN
    IF NEW.decision = 'signed' AND NOT NEW.no_op
        AND EXISTS (SELECT FROM control.halts AS h WHERE h.state <> 'ACTIVE')
        AND EXISTS (SELECT FROM control.risk_increasing_steps AS s
            WHERE s.step = split_part(NEW.batch, '/', 2))
        AND NOT EXISTS (SELECT FROM signing.journal AS known
            WHERE known.transaction_hash = NEW.transaction_hash AND known.decision = 'signed')
    THEN
        SELECT d.bank, d.module INTO recorded FROM deals.deals AS d
        WHERE d.deal_id = split_part(NEW.batch, '/', 1);
        SELECT * INTO stopping
        FROM control.halt_of(recorded.bank, NEW.chain_id, recorded.module);
        IF stopping.scope IS NOT NULL THEN
            PERFORM control.refuse(NEW.intent_id, stopping);
        END IF;
    END IF;
    RETURN NEW;
END
$$;
-- By name it fires after "a_latched_chain", and before "append".
CREATE TRIGGER a_trading_halt BEFORE INSERT ON signing.journal
    FOR EACH ROW EXECUTE FUNCTION signing.refuse_halted();

REVOKE ALL ON FUNCTION control.strictness, control.check_halt, control.halt_of,
    control.trading_state, control.refuse, control.not_admitted, transactions.halt_of, transactions.refuse_halted,
    signing.refuse_halted FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.strictness, control.halt_of, control.trading_state
    TO deal_control, deal_reader, deal_engine, deal_records;
GRANT EXECUTE ON FUNCTION control.check_halt TO deal_control;
GRANT EXECUTE ON FUNCTION transactions.halt_of, transactions.refuse_halted TO deal_engine;
GRANT EXECUTE ON FUNCTION signing.refuse_halted TO deal_signer;
GRANT SELECT ON control.halts TO deal_control, deal_reader, deal_engine, deal_records;
GRANT SELECT ON control.risk_increasing_steps TO deal_reader;
GRANT INSERT (scope, state, who, why), UPDATE (state, who, why) ON control.halts TO deal_control;
