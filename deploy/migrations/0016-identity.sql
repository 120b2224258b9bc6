-- Who may do what: people and services, the keys of services, groups, and what approvers pass on to
-- them for a time. And every command that somebody gave, written before it goes to a workflow.

-- A name is one person's or service's for ever, so rows are never deleted. `subject` is whom the
-- identity provider means (its claim `sub`); a token says nothing else that counts.
CREATE TABLE control.principals (
    principal_id text PRIMARY KEY CHECK (principal_id ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    kind text NOT NULL CHECK (kind IN ('human', 'service')),
    name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    subject text UNIQUE CHECK (subject <> ''),
    -- The same names as domain.identity.Role; a test compares the two.
    roles text[] NOT NULL DEFAULT '{}' CHECK (roles <@ ARRAY[
        'viewer', 'trader', 'senior_trader', 'approver', 'risk_manager', 'oncall', 'compliance',
        'admin']),
    banks text[] NOT NULL DEFAULT '{}'
        CHECK (banks::text ~ '^\{(\*|[a-z0-9-]+(,[a-z0-9-]+)*)?\}$'),
    max_deal_usd8 numeric(78, 0) NOT NULL DEFAULT 0 CHECK (max_deal_usd8 >= 0),
    disabled_at timestamptz,
    version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT second_persons_are_people CHECK (
        kind = 'human' OR NOT roles && ARRAY['approver', 'risk_manager', 'admin']),
    CONSTRAINT services_have_keys CHECK (kind = 'human' OR subject IS NULL)
);

COMMENT ON COLUMN control.principals.banks IS 'Whose deals; * alone stands for every bank.';
COMMENT ON COLUMN control.principals.max_deal_usd8 IS
    'The largest deal that may be started, in 1e-8 USD.';

-- Of a key only the SHA-256 is kept. A slow hash is for passwords, which can be guessed; a key is 256
-- bits drawn by lot, and there is nothing to guess.
CREATE TABLE control.api_keys (
    key_id text PRIMARY KEY CHECK (key_id ~ '^[a-z0-9]{12}$'),
    principal_id text NOT NULL REFERENCES control.principals,
    hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
    label text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    -- Null: for all that its owner may. The same names as domain.identity.Permission; a test compares.
    scopes text[] CHECK (scopes <@ ARRAY[
        'deals.read', 'deals.start', 'deals.pause', 'deals.resume', 'deals.cancel', 'deals.retry',
        'deals.unwind', 'deals.expire', 'deals.adopt', 'deals.approve', 'tx.read', 'tx.act',
        'chain.read', 'chain.release', 'halts.read', 'halts.set', 'halts.release', 'policy.read',
        'policy.propose', 'policy.approve', 'audit.read', 'audit.export', 'users.read',
        'users.write', 'keys.read', 'keys.act', 'operations.read', 'operations.act',
        'schedules.act', 'codec.act']),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT keys_expire CHECK (
        expires_at > created_at AND expires_at <= created_at + interval '366 days')
);

CREATE INDEX api_keys_by_principal ON control.api_keys (principal_id, created_at);

CREATE TABLE control.groups (
    group_id text PRIMARY KEY CHECK (group_id ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE control.memberships (
    group_id text NOT NULL REFERENCES control.groups,
    principal_id text NOT NULL REFERENCES control.principals,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (group_id, principal_id)
);

CREATE INDEX memberships_by_principal ON control.memberships (principal_id);

-- An approver has a group stand in for him. He may end it early; it is never made longer.
CREATE TABLE control.delegations (
    delegation_id text PRIMARY KEY CHECK (delegation_id <> ''),
    approver text NOT NULL REFERENCES control.principals (principal_id),
    group_id text NOT NULL REFERENCES control.groups,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    ended_at timestamptz,
    why text NOT NULL CHECK (why <> ''),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT a_period CHECK (ends_at > starts_at AND ends_at <= starts_at + interval '92 days')
);

CREATE INDEX delegations_by_group ON control.delegations (group_id, ends_at);
CREATE INDEX delegations_by_approver ON control.delegations (approver, ends_at);

-- Every command that goes to a workflow, written by whoever authenticated the caller, before it goes.
CREATE TABLE control.commands (
    command_id text PRIMARY KEY CHECK (command_id ~ '^[!-~]{1,200}$'),
    kind text NOT NULL CHECK (kind ~ '^[a-z]+(\.[a-z_]+)+$'),
    subject text NOT NULL CHECK (subject <> ''),
    deal_id text CHECK (deal_id <> ''),
    bank text,
    body jsonb NOT NULL,
    body_digest text NOT NULL CHECK (body_digest ~ '^[0-9a-f]{64}$'),
    request_digest text CHECK (request_digest ~ '^[0-9a-f]{64}$'),
    principal_id text NOT NULL REFERENCES control.principals,
    via text NOT NULL CHECK (via IN ('cli', 'api', 'temporal', 'worker')),
    address text,
    why text NOT NULL CHECK (why <> ''),
    state text NOT NULL DEFAULT 'RECORDED'
        CHECK (state IN ('RECORDED', 'QUEUED', 'APPLIED', 'REFUSED')),
    problem jsonb,
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_at timestamptz,
    CONSTRAINT about_the_deal CHECK (kind NOT LIKE 'deal.%' OR subject IS NOT DISTINCT FROM deal_id),
    CONSTRAINT decided CHECK ((state IN ('APPLIED', 'REFUSED')) = (decided_at IS NOT NULL)),
    CONSTRAINT refused_for_a_reason CHECK (state <> 'REFUSED' OR problem IS NOT NULL)
);

COMMENT ON COLUMN control.commands.body_digest IS
    'SHA-256 over kind, subject, body and why: another one under the same id is refused.';
COMMENT ON COLUMN control.commands.request_digest IS
    'Of a start: the digest of the request, domain.deals.DealRequest.digest.';
COMMENT ON COLUMN control.commands.answer IS 'What was answered, for whoever asks again.';

CREATE INDEX commands_by_subject ON control.commands (subject, created_at);
CREATE INDEX commands_by_time ON control.commands (created_at, command_id);
CREATE INDEX queued_commands ON control.commands (created_at, command_id) WHERE state = 'QUEUED';

-- In whose name the transaction changes things; null if it says nothing, which the trail refuses.
CREATE FUNCTION control.who() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog
AS $$
    SELECT nullif(current_setting('deal.cause', true), '')::jsonb ->> 'who'
$$;

-- Nobody gives himself anything. The check of the last admin waits for others that are under way, so
-- that two admins cannot disable each other at once.
CREATE FUNCTION control.check_principal() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF NEW.principal_id = control.who()
        AND (NEW.roles, NEW.banks, NEW.max_deal_usd8, NEW.disabled_at IS NULL, NEW.subject)
            IS DISTINCT FROM
            (OLD.roles, OLD.banks, OLD.max_deal_usd8, OLD.disabled_at IS NULL, OLD.subject)
    THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'not_oneself', MESSAGE = 'nobody changes what he may do himself';
    END IF;
    IF 'admin' = ANY (OLD.roles) AND OLD.disabled_at IS NULL
        AND ('admin' <> ALL (NEW.roles) OR NEW.disabled_at IS NOT NULL)
    THEN
        PERFORM pg_advisory_xact_lock(TG_RELID::bigint);
        PERFORM FROM control.principals AS other
        WHERE 'admin' = ANY (other.roles) AND other.disabled_at IS NULL
            AND other.principal_id <> NEW.principal_id;
        IF NOT FOUND THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = 'last_admin', MESSAGE = 'there would be no admin left';
        END IF;
    END IF;
    NEW.version := OLD.version + 1;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER check_principal BEFORE UPDATE ON control.principals
    FOR EACH ROW EXECUTE FUNCTION control.check_principal();

CREATE FUNCTION control.check_membership() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF NEW.principal_id = control.who() THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'not_oneself', MESSAGE = 'nobody puts himself into a group';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_membership BEFORE INSERT ON control.memberships
    FOR EACH ROW EXECUTE FUNCTION control.check_membership();

-- A key that was revoked stays so.
CREATE FUNCTION control.check_key() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'revoked_for_good', MESSAGE = 'the key was revoked before';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_key BEFORE UPDATE ON control.api_keys
    FOR EACH ROW EXECUTE FUNCTION control.check_key();

-- Only the approver himself passes on his part, and only while he has it: who stands in for somebody
-- cannot pass it further.
CREATE FUNCTION control.check_delegation() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.ended_at IS NOT NULL THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = 'ended_for_good', MESSAGE = 'the delegation was ended before';
        END IF;
        RETURN NEW;
    END IF;
    PERFORM FROM control.principals AS known
    WHERE known.principal_id = NEW.approver AND known.principal_id = control.who()
        AND 'approver' = ANY (known.roles) AND known.disabled_at IS NULL;
    IF NOT FOUND THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'own_part', MESSAGE = 'only an approver passes on his own part';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_delegation BEFORE INSERT OR UPDATE ON control.delegations
    FOR EACH ROW EXECUTE FUNCTION control.check_delegation();

-- A command is in the name of whoever the audit trail says gave it. What was refused because somebody
-- did not answer may be tried again under the same id; nothing else is ever taken back.
CREATE FUNCTION control.check_command() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.principal_id IS DISTINCT FROM control.who() OR NEW.state <> 'RECORDED' THEN
            RAISE integrity_constraint_violation USING
                CONSTRAINT = 'own_command', MESSAGE = 'a command is recorded by whoever gives it';
        END IF;
    ELSIF NOT (
        OLD.state = 'RECORDED' OR (OLD.state = 'QUEUED' AND NEW.state <> 'RECORDED')
        OR (OLD.state = 'REFUSED' AND NEW.state = 'RECORDED' AND OLD.problem ->> 'code' = 'unavailable')
    ) THEN
        RAISE integrity_constraint_violation USING
            CONSTRAINT = 'decided_once',
            MESSAGE = format('command %s is %s, not %s', OLD.command_id, OLD.state, NEW.state);
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_command BEFORE INSERT OR UPDATE ON control.commands
    FOR EACH ROW EXECUTE FUNCTION control.check_command();

-- People and services as they count now: with their groups, and for whom they stand in.
CREATE VIEW control.standing AS
    SELECT principal.*,
        ARRAY(
            SELECT member.group_id FROM control.memberships AS member
            WHERE member.principal_id = principal.principal_id ORDER BY member.group_id
        ) AS groups,
        coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'approver', delegation.approver, 'group', delegation.group_id,
                'banks', to_jsonb(approver.banks)
            ) ORDER BY delegation.created_at, delegation.delegation_id)
            FROM control.delegations AS delegation
            JOIN control.memberships AS member
                ON member.group_id = delegation.group_id
                AND member.principal_id = principal.principal_id
            JOIN control.principals AS approver
                ON approver.principal_id = delegation.approver
                AND approver.disabled_at IS NULL AND 'approver' = ANY (approver.roles)
            WHERE delegation.ended_at IS NULL AND principal.kind = 'human'
                AND delegation.approver <> principal.principal_id
                AND clock_timestamp() BETWEEN delegation.starts_at AND delegation.ends_at
        ), '[]'::jsonb) AS stands_in
    FROM control.principals AS principal;

-- When a key was used, to the minute, whoever checked it; it is no change of what anybody may do.
CREATE FUNCTION control.note_use(used text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
    UPDATE control.api_keys SET last_used_at = clock_timestamp()
    WHERE key_id = used
        AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')
$$;

CALL audit.watch('control.principals', 'principal', 'principal_id');
CALL audit.watch('control.api_keys', 'api_key', 'key_id',
    hidden => ARRAY['hash'], ignored => ARRAY['last_used_at']);
CALL audit.watch('control.groups', 'group', 'group_id');
CALL audit.watch('control.memberships', 'group', 'group_id');
CALL audit.watch('control.delegations', 'delegation', 'delegation_id');
CALL audit.watch('control.commands', 'command', 'command_id', 'bank',
    ignored => ARRAY['answer']);

REVOKE ALL ON FUNCTION control.who(), control.check_principal(), control.check_membership(),
    control.check_key(), control.check_delegation(), control.check_command(), control.note_use(text)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.who() TO deal_control, deal_records;
GRANT EXECUTE ON FUNCTION control.note_use(text) TO deal_control, deal_reader;

GRANT SELECT ON control.principals, control.groups, control.memberships, control.delegations,
    control.standing, control.commands TO deal_control, deal_reader, deal_records;
GRANT SELECT ON control.api_keys TO deal_control, deal_reader;
GRANT INSERT ON control.principals, control.api_keys, control.groups, control.memberships,
    control.delegations, control.commands TO deal_control;
GRANT DELETE ON control.memberships TO deal_control;
GRANT UPDATE (name, subject, roles, banks, max_deal_usd8, disabled_at)
    ON control.principals TO deal_control;
GRANT UPDATE (revoked_at) ON control.api_keys TO deal_control;
GRANT UPDATE (ended_at) ON control.delegations TO deal_control;

-- The deals worker delivers what was queued while Temporal was away, and decides it.
GRANT UPDATE (state, problem, answer, decided_at) ON control.commands TO deal_control, deal_records;
