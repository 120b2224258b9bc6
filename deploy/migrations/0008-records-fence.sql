-- A workflow task that is lost (its worker died, or a message came while it was being answered) is
-- done again, and may go another way: the records that it wrote were written for nothing. So each
-- carries how long the deal's history was when its task began. What a later task says replaces what
-- an earlier one said, and what an earlier one says late is not heard. An end stays an end: it is
-- recorded only after the workflow has decided it for good.

ALTER TABLE deals.deals
    ADD COLUMN run_id text NOT NULL DEFAULT '',
    ADD COLUMN history_length bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN deals.deals.run_id IS 'The run of the workflow that wrote this version.';
COMMENT ON COLUMN deals.deals.history_length IS
    'Events in the history of that run when the workflow task that wrote this version began.';

CREATE OR REPLACE FUNCTION deals.check_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    said_anew boolean := NEW.run_id <> OLD.run_id OR NEW.history_length > OLD.history_length;
    over boolean := NOT EXISTS (SELECT FROM deals.allowed_transitions WHERE before = OLD.status);
BEGIN
    IF said_anew AND NEW.version <= OLD.version AND NOT over THEN
        RETURN NEW;
    END IF;
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'deal % cannot go from version % to %',
            OLD.deal_id, OLD.version, NEW.version
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT EXISTS (
        SELECT FROM deals.allowed_transitions
        WHERE before = OLD.status AND after = NEW.status
    ) THEN
        RAISE EXCEPTION 'deal % cannot go from % to %', OLD.deal_id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

GRANT UPDATE (run_id, history_length) ON deals.deals TO deal_records;
