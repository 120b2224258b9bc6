-- What a bank's deals move within a window, and which Safe nonces are proposed for which deals.

-- One row a deal. Together with others of its bank it decides, once, whether owners must approve: the
-- answer of the first time stands. Values are in 1e-8 USD.
CREATE TABLE deals.reservations (
    deal_id text PRIMARY KEY,
    bank text NOT NULL,
    value_usd8 numeric(78, 0) NOT NULL CHECK (value_usd8 >= 0),
    together_usd8 numeric(78, 0) NOT NULL CHECK (together_usd8 >= value_usd8),
    limit_usd8 numeric(78, 0) NOT NULL CHECK (limit_usd8 >= 0),
    owners_decide boolean GENERATED ALWAYS AS (together_usd8 > limit_usd8) STORED,
    reserved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    released_at timestamptz
);

COMMENT ON COLUMN deals.reservations.together_usd8 IS
    'With what the bank had reserved within the window before, and not released.';

CREATE INDEX reservations_by_bank ON deals.reservations (bank, reserved_at);

-- Whatever is written, the sum is reckoned here: one reservation of a bank after the other, to the end
-- of its transaction, so that two deals at once cannot both slip under the limit.
CREATE FUNCTION deals.reserve(
    asked_deal text, asked_bank text, asked_usd8 numeric, asked_limit numeric, seconds double precision
) RETURNS deals.reservations
    LANGUAGE plpgsql SET search_path = pg_catalog
AS $$
DECLARE
    found_row deals.reservations;
    before_usd8 numeric;
BEGIN
    PERFORM pg_advisory_xact_lock('deals.reservations'::regclass::oid::integer, hashtext(asked_bank));
    SELECT * INTO found_row FROM deals.reservations WHERE deal_id = asked_deal;
    IF FOUND THEN
        RETURN found_row;
    END IF;
    SELECT coalesce(sum(value_usd8), 0) INTO before_usd8 FROM deals.reservations
    WHERE bank = asked_bank AND released_at IS NULL
        AND reserved_at > clock_timestamp() - make_interval(secs => seconds);
    INSERT INTO deals.reservations (deal_id, bank, value_usd8, together_usd8, limit_usd8)
    VALUES (asked_deal, asked_bank, asked_usd8, before_usd8 + asked_usd8, asked_limit)
    RETURNING * INTO found_row;
    RETURN found_row;
END
$$;

GRANT SELECT ON deals.reservations TO deal_records, deal_reader;
GRANT INSERT (deal_id, bank, value_usd8, together_usd8, limit_usd8) ON deals.reservations TO deal_records;
GRANT UPDATE (released_at) ON deals.reservations TO deal_records;
REVOKE ALL ON FUNCTION deals.reserve FROM PUBLIC;
GRANT EXECUTE ON FUNCTION deals.reserve TO deal_records;

-- Who has to approve a deal, and who has: domain.approvals.Approval.
ALTER TABLE deals.deals ADD COLUMN approval jsonb;
GRANT UPDATE (approval) ON deals.deals TO deal_records;

-- A Safe performs its transactions in the order of their nonces, so that each proposal has one of its
-- own. One that has expired holds its nonce no longer.
CREATE TABLE transactions.safe_proposals (
    deal_id text PRIMARY KEY,
    chain_id bigint NOT NULL CHECK (chain_id > 0),
    safe text NOT NULL CHECK (safe ~ '^0x[0-9a-fA-F]{40}$'),
    number integer NOT NULL CHECK (number >= 1),
    nonce bigint NOT NULL CHECK (nonce >= 0),
    since_block bigint NOT NULL CHECK (since_block >= 0),
    expires_at timestamptz NOT NULL,
    closed_at timestamptz
);

CREATE INDEX safe_proposals_by_nonce ON transactions.safe_proposals (chain_id, safe, nonce);

GRANT SELECT ON transactions.safe_proposals TO deal_engine, deal_reader;
GRANT INSERT, UPDATE ON transactions.safe_proposals TO deal_engine;

-- The treasury of a deal, where everything is swept to, decided at the latest when something is signed
-- for it, and never again: rows are only added.
CREATE TABLE signing.treasuries (
    deal_id text PRIMARY KEY CHECK (deal_id <> ''),
    treasury text NOT NULL CHECK (treasury ~ '^0x[0-9a-fA-F]{40}$'),
    safe boolean NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT, INSERT ON signing.treasuries TO deal_signer;
