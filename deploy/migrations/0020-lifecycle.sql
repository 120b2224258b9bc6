-- A way on from every state: the transitions that the commands retry, unwind, expire and adopt need, and
-- what a deal says of a redemption freeze and of whoever took it over.

INSERT INTO deals.allowed_transitions (before, after) VALUES
    -- A deal whose workflow was lost is taken over from the records, and unwinds.
    ('AWAITING_APPROVAL', 'UNWINDING'),
    -- Unwound in part, a deal waits for a person.
    ('UNWINDING', 'PAUSED'),
    -- A person has taken it over, with a written account of what is left.
    ('STUCK', 'UNWOUND');

-- domain.freezes.Freeze and domain.adoptions.Adoption.
ALTER TABLE deals.deals ADD COLUMN frozen jsonb, ADD COLUMN adoption jsonb;
GRANT UPDATE (frozen, adoption) ON deals.deals TO deal_records;

ALTER TABLE deals.deals ADD CONSTRAINT adopted_deals_are_over CHECK (
    adoption IS NULL OR jsonb_typeof(adoption) = 'null' OR status = 'UNWOUND'
);
