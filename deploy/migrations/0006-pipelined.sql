-- Pipelined deals: everything from wrap to unwrap is one batch, called the run.
ALTER TABLE deals.deal_steps DROP CONSTRAINT deal_steps_step_check;
ALTER TABLE deals.deal_steps ADD CONSTRAINT deal_steps_step_check CHECK (step IN (
    'fund', 'run', 'wrap', 'collateralize', 'borrow', 'swap', 'redeem', 'top_up', 'unwind',
    'settle', 'sweep'
));
