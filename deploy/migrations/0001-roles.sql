-- One role a process, so that none can touch what is another's. They have no password here: a
-- deployment gives each its own (ALTER ROLE ... PASSWORD) or maps them by certificate.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['deal_engine', 'deal_records', 'deal_signer', 'deal_reader']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role_name);
        END IF;
    END LOOP;
END
$$;
