-- A deal that its owners had approved, and that is over: its payment can be made until the nonce is used.
-- depends: 0005-watching

ALTER TABLE transactions.alerts
    DROP CONSTRAINT alerts_kind_check,
    ADD CONSTRAINT alerts_kind_check CHECK (kind IN (
        'fee_cap', 'foreign_nonce', 'nonce_gap', 'unknown', 'reorg', 'contradiction',
        'head_stalled', 'latch', 'unsent', 'safe_payment'
    ));
