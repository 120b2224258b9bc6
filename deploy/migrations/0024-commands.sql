-- What many deals are asked by HTTP is previewed first, and acted on is exactly what was shown: the
-- list is kept for as long as somebody may say yes to it. It changes nothing, so it is not in the audit
-- trail; the batch that is begun with it is.
CREATE TABLE control.previews (
    preview_id text PRIMARY KEY CHECK (preview_id <> ''),
    command text NOT NULL CHECK (command <> ''),
    filter text NOT NULL,
    deals text[] NOT NULL CHECK (cardinality(deals) BETWEEN 1 AND 500),
    digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    principal_id text NOT NULL CHECK (principal_id <> ''),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at)
);

CREATE INDEX previews_by_end ON control.previews (expires_at);

GRANT SELECT, INSERT, DELETE ON control.previews TO deal_control;

-- Whether a request was done that is repeated because its answer was lost: by its command's id.
CREATE INDEX events_by_command ON audit.events (command_id) WHERE command_id IS NOT NULL;

-- Changes of keys and critical operations go by recorded commands, as those of deals do. So the trail
-- tells who has proved to be who, in place of whom a message names.
CREATE OR REPLACE FUNCTION audit.note_key_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    owner text := (SELECT known.deal_id FROM signing.accounts AS known WHERE known.address = NEW.address);
    own boolean := NEW.who IS NOT DISTINCT FROM 'deal ' || owner;
    said jsonb := jsonb_build_object('who', NEW.who, 'kind',
        CASE WHEN own THEN 'system' ELSE 'claimed' END,
        'via', 'worker', 'why', NEW.why, 'command_id', NEW.event_id);
BEGIN
    IF NOT own THEN
        -- retired/<command id>, <command id>/seed: an event is named after the command, if there is one.
        said := audit.proven(
            said || jsonb_build_object('command_id', regexp_replace(
                NEW.event_id, '^(retired|reinstated)/|/(seed|wrapping)$', '')),
            owner);
    END IF;
    PERFORM audit.record(
        said,
        'key.' || NEW.kind,
        'key',
        coalesce(NEW.address, NEW.provider),
        audit.difference(NULL, to_jsonb(NEW), '{}', '{}'),
        deal => owner);
    RETURN NULL;
END
$$;

-- The first command of this person that asked for it; what the operation's view says, if there is none.
CREATE FUNCTION audit.proven_operation(said jsonb, asked_kind text, operation text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog
AS $$
DECLARE
    found_cause jsonb;
BEGIN
    SELECT said || jsonb_build_object(
        'who', command.principal_id, 'kind', principal.kind, 'via', command.via,
        'address', command.address, 'why', command.why, 'command_id', command.command_id)
    INTO found_cause
    FROM control.commands AS command JOIN control.principals AS principal USING (principal_id)
    WHERE command.subject = operation AND command.kind = asked_kind
        AND command.principal_id = said ->> 'who' AND command.state <> 'REFUSED'
    ORDER BY command.created_at LIMIT 1;
    RETURN coalesce(found_cause, said);
END
$$;

CREATE OR REPLACE FUNCTION audit.note_operation() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    request jsonb := NEW.view -> 'request';
    said jsonb := audit.by_itself('operation ' || NEW.operation_id,
        coalesce(nullif(NEW.view ->> 'doing', ''), NEW.status));
    mined text[] := ARRAY(SELECT jsonb_array_elements_text(NEW.view -> 'transactions'));
BEGIN
    IF TG_OP = 'INSERT' THEN
        said := audit.proven_operation(
            jsonb_build_object('who', request ->> 'who', 'kind', 'claimed', 'via', 'temporal',
                'why', request ->> 'why'),
            'operation.schedule', NEW.operation_id);
    ELSIF NEW.status = 'CANCELLED' AND OLD.status <> 'CANCELLED' THEN
        said := audit.proven_operation(
            said || jsonb_build_object('who', NEW.view ->> 'cancelled_by', 'kind', 'claimed',
                'via', 'temporal'),
            'operation.cancel', NEW.operation_id);
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

REVOKE ALL ON FUNCTION audit.proven_operation FROM PUBLIC;
