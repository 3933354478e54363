"""The storm in short, as part of every test run."""

import io

import pytest
from rich.console import Console

from tests.chaos.report import show
from tests.chaos.storm import Plan, storm

SHORT = Plan(
    seed=2, requests=400, faults=24, workers=2, replicas=2, clients=14, kill_worker_every=12, pause_s=0.5
)


@pytest.mark.timeout(240)
async def test_every_request_has_an_account_and_nothing_is_left_over_whatever_dies() -> None:
    outcome = await storm(SHORT)
    said = io.StringIO()
    show(outcome, Console(file=said, width=160))
    assert outcome.findings == [], said.getvalue()
    assert len(outcome.ledger) >= SHORT.requests
    assert outcome.ledger.fates["complete"] > 0.8 * len(outcome.ledger), said.getvalue()
    assert sum(outcome.faults.values()) == SHORT.faults + SHORT.faults // SHORT.kill_worker_every
    assert outcome.counted["streams that lost their replica"]["resumed"] > 0, said.getvalue()
