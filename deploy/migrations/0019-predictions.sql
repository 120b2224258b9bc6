-- What deals are predicted to do by a dry run at their admission, and what they have done in the end:
-- domain.predictions.Prediction and Realised. Written with the deal's records, in the same statement.

CREATE TABLE control.predictions (
    deal_id text PRIMARY KEY REFERENCES deals.deals,
    bank text NOT NULL,
    predicted jsonb NOT NULL,
    digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    predicted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    realised jsonb,
    realised_at timestamptz,
    CHECK ((realised IS NULL) = (realised_at IS NULL))
);

COMMENT ON COLUMN control.predictions.digest IS
    'Of the prediction: what approvals of the deal are bound to.';
COMMENT ON COLUMN control.predictions.realised IS 'Null until the deal has ended.';

-- What was approved, and what came of it, stays. A prediction is only made anew where the task of the
-- deal's workflow that made it was lost, and so before anything was realised.
CREATE FUNCTION control.check_prediction() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
BEGIN
    IF OLD.realised IS NOT NULL AND (NEW.predicted <> OLD.predicted OR NEW.digest <> OLD.digest) THEN
        RAISE EXCEPTION 'the prediction of deal % has been held against what came of it', OLD.deal_id
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.deal_id <> OLD.deal_id OR NEW.bank <> OLD.bank THEN
        RAISE EXCEPTION 'a prediction stays with its deal, %', OLD.deal_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER checked BEFORE UPDATE ON control.predictions
    FOR EACH ROW EXECUTE FUNCTION control.check_prediction();

-- The trail has the figures; those of the single steps are bound by the digest.
CREATE FUNCTION control.note_prediction() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog
AS $$
DECLARE
    ended boolean := TG_OP = 'UPDATE' AND NEW.realised IS NOT NULL;
BEGIN
    PERFORM audit.record(
        jsonb_build_object('who', 'deal ' || NEW.deal_id, 'kind', 'system', 'via', 'worker',
            'why', CASE WHEN ended THEN 'the deal has ended' ELSE 'the deal was run dry' END),
        CASE WHEN ended THEN 'prediction.realised' ELSE 'prediction.made' END,
        'prediction',
        NEW.deal_id,
        jsonb_build_object('after', jsonb_build_object('digest', NEW.digest)
            || (CASE WHEN ended THEN NEW.realised ELSE NEW.predicted END - 'steps')),
        bank => NEW.bank,
        deal => NEW.deal_id,
        workflow_id => 'deal-' || NEW.deal_id);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER noted AFTER INSERT OR UPDATE ON control.predictions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION control.note_prediction();

REVOKE ALL ON FUNCTION control.check_prediction, control.note_prediction FROM PUBLIC;
GRANT USAGE ON SCHEMA control TO deal_records, deal_reader;
GRANT SELECT ON control.predictions TO deal_reader, deal_records, deal_control;
GRANT INSERT (deal_id, bank, predicted, digest) ON control.predictions TO deal_records;
GRANT UPDATE (predicted, digest, predicted_at, realised, realised_at) ON control.predictions
    TO deal_records;
