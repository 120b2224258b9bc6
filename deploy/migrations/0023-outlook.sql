-- Whoever thinks about starting a deal is told how it would be decided: what counts in an hour and a day
-- is counted by the same function as at an admission. It writes nothing.
GRANT EXECUTE ON FUNCTION control.check_velocity(control.admissions, jsonb) TO deal_reader;
