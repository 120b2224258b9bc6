-- The chain that a deal is on, as it was told when the deal's account was opened: nothing is signed for
-- the deal on another. Accounts of before have none.
ALTER TABLE signing.accounts ADD COLUMN chain_id bigint CHECK (chain_id > 0);
