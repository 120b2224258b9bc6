-- Releasing a chain gives up the checkpoint that it broke, in the transaction that clears the latch: a
-- look that began before must not latch the chain again by it.
GRANT DELETE ON transactions.checkpoints TO deal_engine;
