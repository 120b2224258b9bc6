-- The deal policy and its versions, what was admitted by which, and who has approved it. Whatever is
-- written, the rules below hold: a version is put in force by another person than who proposed it, and
-- a deal is approved by people, distinct, none of them who started it, who all saw the same thing.
--
-- Values are in 1e-8 USD; the policy's own are decimal USD, in its content.

CREATE TABLE control.policies (
    version integer PRIMARY KEY CHECK (version >= 1),
    digest text NOT NULL UNIQUE,
    content text NOT NULL,
    based_on integer REFERENCES control.policies,
    state text NOT NULL CHECK (state IN ('PROPOSED', 'ACTIVE', 'RETIRED', 'REJECTED')),
    proposed_by text NOT NULL CHECK (proposed_by <> ''),
    proposed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    why text NOT NULL CHECK (why <> ''),
    approved_by text,
    rejected_by text,
    decided_at timestamptz,
    decided_why text,
    retired_at timestamptz,
    CONSTRAINT digest_of_content CHECK (
        digest = encode(sha256(convert_to(content, 'UTF8')), 'hex')),
    CONSTRAINT version_of_content CHECK ((content::jsonb ->> 'version')::integer = version),
    CONSTRAINT second_person CHECK (approved_by <> proposed_by),
    CONSTRAINT decided CHECK (CASE state
        WHEN 'PROPOSED' THEN num_nonnulls(approved_by, rejected_by, decided_at) = 0
        WHEN 'REJECTED' THEN rejected_by IS NOT NULL AND approved_by IS NULL
        ELSE rejected_by IS NULL AND (approved_by IS NOT NULL) = (based_on IS NOT NULL) END)
);

COMMENT ON COLUMN control.policies.content IS
    'domain.policy.DealPolicy as JSON with sorted keys, nothing that is not set.';
COMMENT ON COLUMN control.policies.based_on IS
    'The version that was in force when it was proposed; null for the one that was installed.';

CREATE UNIQUE INDEX one_active_policy ON control.policies ((true)) WHERE state = 'ACTIVE';

-- One change after the other. The constraint's name tells what was wrong.
CREATE FUNCTION control.check_policy() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    active integer;
    newest integer;
    rule text;
BEGIN
    PERFORM pg_advisory_xact_lock('control.policies'::regclass::oid::bigint);
    SELECT max(version) FILTER (WHERE state = 'ACTIVE'), max(version) INTO active, newest
    FROM control.policies;
    IF TG_OP = 'INSERT' THEN
        rule := CASE
            WHEN NEW.proposed_by IS DISTINCT FROM control.who() THEN 'own_proposal'
            WHEN newest IS NULL AND (NEW.state <> 'ACTIVE' OR NEW.based_on IS NOT NULL)
                THEN 'policy_installed_first'
            WHEN newest IS NOT NULL AND NEW.state <> 'PROPOSED' THEN 'policy_proposed_first'
            WHEN NEW.version <= newest THEN 'policy_version_used'
            WHEN NEW.based_on IS DISTINCT FROM active THEN 'policy_outdated' END;
    ELSE
        rule := CASE
            WHEN (NEW.version, NEW.digest, NEW.content, NEW.based_on, NEW.proposed_by,
                    NEW.proposed_at, NEW.why)
                IS DISTINCT FROM (OLD.version, OLD.digest, OLD.content, OLD.based_on,
                    OLD.proposed_by, OLD.proposed_at, OLD.why) THEN 'policy_unchanged'
            WHEN (OLD.state, NEW.state) = ('ACTIVE', 'RETIRED') THEN NULL
            WHEN OLD.state <> 'PROPOSED' OR NEW.state NOT IN ('ACTIVE', 'REJECTED')
                THEN 'policy_decided'
            WHEN coalesce(NEW.approved_by, NEW.rejected_by) IS DISTINCT FROM control.who()
                THEN 'own_decision'
            -- The one that it is based on has just been retired in its favour.
            WHEN NEW.state = 'ACTIVE' AND (active IS NOT NULL OR NOT EXISTS (
                    SELECT FROM control.policies AS last
                    WHERE last.version = NEW.based_on AND last.retired_at = (
                        SELECT max(retired_at) FROM control.policies)))
                THEN 'policy_outdated' END;
    END IF;
    IF rule IS NOT NULL THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = rule, DETAIL = coalesce(active, 0)::text,
            MESSAGE = format('version %s: %s', NEW.version, replace(rule, '_', ' '));
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_policy BEFORE INSERT OR UPDATE ON control.policies
    FOR EACH ROW EXECUTE FUNCTION control.check_policy();

-- Nothing retires the last one without another in its place.
CREATE FUNCTION control.check_active_policy() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM FROM control.policies WHERE state = 'ACTIVE';
    IF NOT FOUND THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'policy_in_force', MESSAGE = 'no policy would be in force';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER in_force AFTER UPDATE ON control.policies
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION control.check_active_policy();
CREATE TRIGGER kept BEFORE DELETE ON control.policies
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- What was admitted: by which version and rule, in whose name, and how many have to approve it. One
-- row a deal; a deal that was denied has none.
CREATE TABLE control.admissions (
    deal_id text PRIMARY KEY,
    command_id text NOT NULL UNIQUE REFERENCES control.commands,
    bank text NOT NULL,
    initiator text NOT NULL REFERENCES control.principals (principal_id),
    initiator_roles text[] NOT NULL,
    request_digest text NOT NULL CHECK (request_digest ~ '^[0-9a-f]{64}$'),
    policy_version integer NOT NULL REFERENCES control.policies,
    rule text NOT NULL,
    value_usd8 numeric(78, 0) NOT NULL CHECK (value_usd8 >= 0),
    approvals_needed integer NOT NULL CHECK (approvals_needed >= 0),
    approver_group text,
    expiry_seconds integer NOT NULL CHECK (expiry_seconds > 0),
    admitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    prediction_digest text CHECK (prediction_digest ~ '^[0-9a-f]{64}$'),
    binding_digest text,
    expires_at timestamptz,
    released_at timestamptz,
    CONSTRAINT senior_trader CHECK (
        value_usd8 <= 500000000000000 OR 'senior_trader' = ANY (initiator_roles)),
    CONSTRAINT asked_whole CHECK (
        num_nulls(prediction_digest, binding_digest, expires_at) IN (0, 3))
);

COMMENT ON COLUMN control.admissions.binding_digest IS
    'What approvals are for: SHA-256 over request digest, policy version and prediction digest.';
COMMENT ON COLUMN control.admissions.released_at IS
    'Since when it is not counted: it moved nothing, and never will.';

CREATE INDEX admissions_by_initiator ON control.admissions (initiator, admitted_at);
CREATE INDEX admissions_by_bank ON control.admissions (bank, admitted_at);

-- domain.desk_approvals.binding_digest; a test compares the two.
CREATE FUNCTION control.binding_of(request_digest text, policy_version integer, prediction text)
    RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT encode(sha256(convert_to(
        concat_ws(E'\n', request_digest, policy_version, prediction), 'UTF8')), 'hex')
$$;

-- What was decided once stays so; only what is asked of approvers, and that it counts no longer, comes
-- later, once.
CREATE FUNCTION control.check_admission() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    before control.admissions := OLD;
BEGIN
    IF OLD.binding_digest IS NULL THEN
        before.prediction_digest := NEW.prediction_digest;
        before.binding_digest := NEW.binding_digest;
        before.expires_at := NEW.expires_at;
    END IF;
    IF OLD.released_at IS NULL THEN
        before.released_at := NEW.released_at;
    END IF;
    IF before IS DISTINCT FROM NEW OR NEW.binding_digest IS NOT NULL AND NEW.binding_digest <>
        control.binding_of(NEW.request_digest, NEW.policy_version, NEW.prediction_digest)
    THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'admitted_once', MESSAGE = format('deal %s was admitted before', NEW.deal_id);
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_admission BEFORE UPDATE ON control.admissions
    FOR EACH ROW EXECUTE FUNCTION control.check_admission();
CREATE TRIGGER kept BEFORE DELETE ON control.admissions
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Raise if the deal would be more than a velocity limit of its policy allows. The caller holds the
-- locks of the bank and of the initiator. The constraint's name is the denial's code; the detail is
-- what there was before, the hint the limit.
CREATE FUNCTION control.check_velocity(asked control.admissions, content jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    velocity jsonb;
    before_deals bigint;
    before_usd8 numeric;
    most_usd8 numeric;
    rule text;
BEGIN
    FOR velocity IN SELECT * FROM jsonb_array_elements(content -> 'velocity') LOOP
        rule := 'velocity_' || (velocity ->> 'per');
        SELECT count(*), coalesce(sum(known.value_usd8), 0) INTO before_deals, before_usd8
        FROM control.admissions AS known
        WHERE known.released_at IS NULL
            AND known.admitted_at > clock_timestamp()
                - make_interval(secs => (velocity ->> 'window_seconds')::double precision)
            AND CASE velocity ->> 'per' WHEN 'user' THEN known.initiator = asked.initiator
                ELSE known.bank = asked.bank END;
        most_usd8 := (velocity ->> 'max_usd')::numeric * 100000000;
        IF before_deals + 1 > (velocity ->> 'max_deals')::bigint THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = rule || '_deals', DETAIL = before_deals::text,
                HINT = velocity ->> 'max_deals', COLUMN = velocity ->> 'window_seconds',
                MESSAGE = 'too many deals';
        ELSIF before_usd8 + asked.value_usd8 > most_usd8 THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = rule || '_usd', DETAIL = trunc(before_usd8)::text,
                HINT = trunc(most_usd8)::text, COLUMN = velocity ->> 'window_seconds',
                MESSAGE = 'too much';
        END IF;
    END LOOP;
END
$$;

-- Admit a deal, or return how it was admitted. Who started it is taken from the command; that a rule of
-- the policy allows it has been found before. One admission of a bank, and of a person, after the
-- other, so that two at once cannot both slip under a limit.
CREATE FUNCTION control.admit(
    asked_deal text, asked_command text, asked_digest text, asked_version integer, asked_rule text,
    asked_usd8 numeric
) RETURNS control.admissions
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    admitted control.admissions;
    policy control.policies;
    command control.commands;
    person control.principals;
    approvals jsonb;
    tier jsonb;
BEGIN
    SELECT * INTO command FROM control.commands AS known
    WHERE known.command_id = asked_command AND known.kind = 'deal.start'
        AND known.deal_id = asked_deal AND known.request_digest = asked_digest;
    IF NOT FOUND THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'no_command', MESSAGE = 'no such command was recorded';
    END IF;
    PERFORM pg_advisory_xact_lock(
        'control.admissions'::regclass::oid::integer, hashtext('bank ' || command.bank));
    PERFORM pg_advisory_xact_lock(
        'control.admissions'::regclass::oid::integer, hashtext('user ' || command.principal_id));
    SELECT * INTO admitted FROM control.admissions WHERE deal_id = asked_deal;
    IF FOUND THEN
        RETURN admitted;
    END IF;
    SELECT * INTO person FROM control.principals AS known
    WHERE known.principal_id = command.principal_id AND known.disabled_at IS NULL;
    IF NOT FOUND THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'principal_disabled', MESSAGE = format('%s is disabled', command.principal_id);
    END IF;
    SELECT * INTO policy FROM control.policies AS known
    WHERE known.version = asked_version AND known.state = 'ACTIVE' FOR SHARE;
    IF NOT FOUND THEN
        RAISE serialization_failure USING MESSAGE = format('version %s is not in force', asked_version);
    END IF;
    approvals := policy.content::jsonb -> 'approvals';
    SELECT each.value INTO tier FROM jsonb_array_elements(approvals -> 'tiers') AS each
    WHERE asked_usd8 > (each.value ->> 'above_usd')::numeric * 100000000
    ORDER BY (each.value ->> 'above_usd')::numeric DESC LIMIT 1;
    admitted.deal_id := asked_deal;
    admitted.command_id := asked_command;
    admitted.bank := command.bank;
    admitted.initiator := command.principal_id;
    admitted.initiator_roles := person.roles;
    admitted.request_digest := asked_digest;
    admitted.policy_version := asked_version;
    admitted.rule := asked_rule;
    admitted.value_usd8 := asked_usd8;
    admitted.approvals_needed := coalesce((tier ->> 'needed')::integer, 0);
    admitted.approver_group := tier ->> 'group';
    admitted.expiry_seconds := (approvals ->> 'expiry_seconds')::integer;
    admitted.admitted_at := clock_timestamp();
    PERFORM control.check_velocity(admitted, policy.content::jsonb);
    PERFORM control.set_cause(command);
    INSERT INTO control.admissions SELECT (admitted).*;
    RETURN admitted;
END
$$;

-- The transaction is in the name of whoever gave the command.
CREATE FUNCTION control.set_cause(command control.commands) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog
AS $$
    SELECT set_config('deal.cause', jsonb_build_object(
        'who', command.principal_id,
        'kind', (SELECT kind FROM control.principals WHERE principal_id = command.principal_id),
        'via', command.via, 'address', command.address, 'why', command.why,
        'command_id', command.command_id)::text, true)
$$;

-- The transaction is the deal's own doing.
CREATE FUNCTION control.set_cause_of_deal(asked_deal text, why text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog
AS $$
    SELECT set_config('deal.cause', jsonb_build_object(
        'who', 'deal-' || asked_deal, 'kind', 'system', 'via', 'worker', 'why', why)::text, true)
$$;

-- Count a deal no longer: it has moved nothing, and never will.
CREATE FUNCTION control.release_admission(asked_deal text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM control.set_cause_of_deal(asked_deal, 'the deal ended before it moved anything');
    UPDATE control.admissions SET released_at = clock_timestamp()
    WHERE deal_id = asked_deal AND released_at IS NULL;
END
$$;

-- Ask for the approvals that a deal needs, of exactly this; the first answer stands.
CREATE FUNCTION control.ask_approvals(asked_deal text, asked_prediction text)
    RETURNS control.admissions
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    admitted control.admissions;
BEGIN
    PERFORM control.set_cause_of_deal(asked_deal, 'the deal needs approvals');
    UPDATE control.admissions SET
        prediction_digest = asked_prediction,
        binding_digest = control.binding_of(request_digest, policy_version, asked_prediction),
        expires_at = clock_timestamp() + make_interval(secs => expiry_seconds)
    WHERE deal_id = asked_deal AND binding_digest IS NULL;
    SELECT * INTO admitted FROM control.admissions WHERE deal_id = asked_deal;
    RETURN admitted;
END
$$;

-- Who has approved a deal, or has rejected it; with `on_behalf_of` as a stand-in.
CREATE TABLE control.approvals (
    deal_id text NOT NULL REFERENCES control.admissions,
    approver text NOT NULL REFERENCES control.principals (principal_id),
    on_behalf_of text REFERENCES control.principals (principal_id),
    decision text NOT NULL CHECK (decision IN ('approved', 'rejected')),
    binding_digest text NOT NULL,
    command_id text NOT NULL UNIQUE REFERENCES control.commands,
    bank text NOT NULL,
    why text NOT NULL CHECK (why <> ''),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (deal_id, approver),
    CONSTRAINT not_for_oneself CHECK (approver <> on_behalf_of)
);

CREATE UNIQUE INDEX one_stand_in ON control.approvals (deal_id, on_behalf_of);

-- One after the other for a deal. The constraint's name is the denial's code.
CREATE FUNCTION control.check_approval() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    admitted control.admissions;
    people text[] := ARRAY[NEW.approver, NEW.on_behalf_of];
    rule text;
BEGIN
    SELECT * INTO admitted FROM control.admissions WHERE deal_id = NEW.deal_id FOR UPDATE;
    rule := CASE
        WHEN admitted.binding_digest IS NULL OR admitted.released_at IS NOT NULL OR EXISTS (
                SELECT FROM control.approvals AS known
                WHERE known.deal_id = NEW.deal_id AND known.decision = 'rejected')
            THEN 'approval_not_awaited'
        WHEN admitted.initiator = ANY (people) THEN 'approval_own_deal'
        WHEN EXISTS (
                SELECT FROM control.approvals AS known
                WHERE known.deal_id = NEW.deal_id
                    AND (known.approver = ANY (people) OR known.on_behalf_of = ANY (people)))
            THEN 'approval_given_already'
        WHEN NEW.binding_digest <> admitted.binding_digest THEN 'approval_of_something_else'
        WHEN clock_timestamp() >= admitted.expires_at THEN 'approval_expired'
        WHEN NOT control.may_approve(
                NEW.approver, NEW.on_behalf_of, admitted.bank, admitted.approver_group)
            THEN 'approval_not_approver'
        WHEN NEW.bank <> admitted.bank OR NOT EXISTS (
                SELECT FROM control.commands AS command
                WHERE command.command_id = NEW.command_id AND command.deal_id = NEW.deal_id
                    AND command.principal_id = NEW.approver
                    AND command.body ->> 'binding_digest' = NEW.binding_digest
                    AND command.kind = CASE NEW.decision
                        WHEN 'approved' THEN 'deal.approve' ELSE 'deal.reject' END)
            THEN 'no_command' END;
    IF rule IS NOT NULL THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = rule, MESSAGE = replace(rule, '_', ' '),
            DETAIL = coalesce(admitted.binding_digest, ''),
            HINT = coalesce(admitted.expires_at::text, '');
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_approval BEFORE INSERT ON control.approvals
    FOR EACH ROW EXECUTE FUNCTION control.check_approval();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON control.approvals
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Whether somebody is an approver of this bank and group now; or stands in for one who is, by a group
-- that he is in. Whoever stands in gets no bank by that.
CREATE FUNCTION control.may_approve(asked text, for_whom text, asked_bank text, asked_group text)
    RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT EXISTS (
        SELECT FROM control.standing AS person
        JOIN control.standing AS approver
            ON approver.principal_id = coalesce(for_whom, person.principal_id)
        WHERE person.principal_id = asked
            AND person.kind = 'human'
            AND person.disabled_at IS NULL AND approver.disabled_at IS NULL
            AND (person.banks @> ARRAY['*'] OR person.banks @> ARRAY[asked_bank])
            AND (approver.banks @> ARRAY['*'] OR approver.banks @> ARRAY[asked_bank])
            AND 'approver' = ANY (approver.roles)
            AND (asked_group IS NULL OR asked_group = ANY (approver.groups))
            AND (for_whom IS NULL OR person.stands_in @> jsonb_build_array(
                jsonb_build_object('approver', for_whom))))
$$;

-- Count what a recorded command says of a deal: that it is approved, or rejected. The first time
-- counts; again it changes nothing. Without the role himself, the command's principal stands in for the
-- first approver who has passed his part on to him, was not heard yet, and is not the initiator.
CREATE FUNCTION control.give_approval(asked_deal text, asked_command text)
    RETURNS SETOF control.approvals
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    command control.commands;
    admitted control.admissions;
    for_whom text;
BEGIN
    SELECT * INTO command FROM control.commands AS known
    WHERE known.command_id = asked_command AND known.deal_id = asked_deal
        AND known.kind IN ('deal.approve', 'deal.reject');
    IF NOT FOUND THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'no_command', MESSAGE = 'no such command was recorded';
    END IF;
    SELECT * INTO admitted FROM control.admissions WHERE deal_id = asked_deal FOR UPDATE;
    IF NOT FOUND THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'approval_not_awaited', MESSAGE = 'the deal was not admitted';
    END IF;
    IF NOT EXISTS (SELECT FROM control.approvals AS known WHERE known.command_id = asked_command) THEN
        IF NOT control.may_approve(
            command.principal_id, NULL, admitted.bank, admitted.approver_group)
        THEN
            SELECT each.value ->> 'approver' INTO for_whom
            FROM control.standing AS person, jsonb_array_elements(person.stands_in) AS each
            WHERE person.principal_id = command.principal_id
                AND each.value ->> 'approver' <> admitted.initiator
                AND control.may_approve(command.principal_id, each.value ->> 'approver',
                    admitted.bank, admitted.approver_group)
                AND NOT EXISTS (SELECT FROM control.approvals AS known
                    WHERE known.deal_id = asked_deal
                        AND each.value ->> 'approver' IN (known.approver, known.on_behalf_of))
            LIMIT 1;
        END IF;
        PERFORM control.set_cause(command);
        INSERT INTO control.approvals (deal_id, approver, on_behalf_of, decision, binding_digest,
            command_id, bank, why)
        VALUES (asked_deal, command.principal_id, for_whom,
            CASE command.kind WHEN 'deal.approve' THEN 'approved' ELSE 'rejected' END,
            coalesce(command.body ->> 'binding_digest', ''), asked_command, admitted.bank,
            command.why);
    END IF;
    RETURN QUERY SELECT * FROM control.approvals AS known
        WHERE known.deal_id = asked_deal ORDER BY known.at, known.approver;
END
$$;

-- Whether what was admitted may still put money at risk: it was not rejected or released, and all who
-- have to approve it have done so. Deals that were begun before there were admissions stand.
CREATE FUNCTION control.admission_stands(asked_deal text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$
    SELECT coalesce((
        SELECT admitted.released_at IS NULL
            AND count(*) FILTER (WHERE given.decision = 'rejected') = 0
            AND count(*) FILTER (WHERE given.decision = 'approved') >= admitted.approvals_needed
        FROM control.admissions AS admitted LEFT JOIN control.approvals AS given USING (deal_id)
        WHERE admitted.deal_id = asked_deal GROUP BY admitted.deal_id
    ), true)
$$;

CALL audit.watch('control.policies', 'policy', 'version');
CALL audit.watch('control.admissions', 'admission', 'deal_id', 'bank');
CALL audit.watch('control.approvals', 'approval', 'deal_id', 'bank');

-- A deal keeps the version that it was admitted by, and who has approved it.
ALTER TABLE deals.deals
    ADD COLUMN policy_version integer,
    ADD COLUMN desk_approval jsonb;

COMMENT ON COLUMN deals.deals.desk_approval IS 'domain.desk_approvals.DeskApproval.';

GRANT UPDATE (policy_version, desk_approval) ON deals.deals TO deal_records;

REVOKE ALL ON FUNCTION control.check_policy(), control.check_active_policy(),
    control.binding_of(text, integer, text), control.check_admission(),
    control.check_velocity(control.admissions, jsonb),
    control.admit(text, text, text, integer, text, numeric), control.set_cause(control.commands),
    control.set_cause_of_deal(text, text), control.release_admission(text),
    control.ask_approvals(text, text), control.check_approval(),
    control.may_approve(text, text, text, text), control.give_approval(text, text),
    control.admission_stands(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.admit(text, text, text, integer, text, numeric),
    control.release_admission(text), control.ask_approvals(text, text),
    control.give_approval(text, text) TO deal_records;
GRANT EXECUTE ON FUNCTION control.admission_stands(text) TO deal_engine, deal_records;
GRANT EXECUTE ON FUNCTION control.may_approve(text, text, text, text)
    TO deal_control, deal_reader, deal_records;
GRANT SELECT ON control.policies, control.admissions, control.approvals
    TO deal_control, deal_reader, deal_records;
GRANT INSERT ON control.policies TO deal_control;
GRANT UPDATE (state, approved_by, rejected_by, decided_at, decided_why, retired_at)
    ON control.policies TO deal_control;
