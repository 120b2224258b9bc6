-- Lists of transactions go newest first and page on (created_at, nonce, intent_id), whatever they
-- filter; the intents of a batch have one time.
CREATE INDEX intents_by_time ON transactions.intents
    (created_at DESC, nonce DESC, intent_id DESC);
