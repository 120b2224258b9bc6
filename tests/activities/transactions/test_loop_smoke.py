import time
from domain.deals import Step
from tests.activities.desk import UP_TO_REDEEM

async def test_x(desk):
    for s in (*UP_TO_REDEEM, Step.SETTLE, Step.SWEEP):
        t=time.time()
        b = await desk.prepare(s); t1=time.time()
        o = await desk.signed(b); t2=time.time()
        d = await desk.deliver(o); t3=time.time()
        print(s, [i.purpose for i in b.intents], b.simulated_changes, d.outcome.changes, d.outcome.problem, round(t1-t,3), round(t2-t1,3), round(t3-t2,3))
    print(d.outcome.position)
    assert 0
