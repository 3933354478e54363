"""The reckoning: what the ledger says, what the gateway says, and what is left over."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.chaos.front import Front, Metrics
from tests.chaos.replicas import Replica

if TYPE_CHECKING:
    from tests.chaos.storm import Outcome

SETTLE_S = 20.0
SPARE_DESCRIPTORS = 3
"""Of control, for each replica: connections for its probe, its models and its metrics. Workers have none."""


async def reckon(
    outcome: "Outcome", front: Front, replicas: Sequence[Replica], baseline: dict[str, int]
) -> None:
    """Compare everything with everything. Ends the gateway."""
    outcome.findings += outcome.ledger.findings()
    outcome.needless = _needlessly_lost(outcome, replicas)
    outcome.findings += outcome.needless
    outcome.findings += await _left_over(front, replicas, baseline)
    metrics = await front.metrics()
    outcome.findings += _miscounted(outcome, metrics)
    outcome.counted = {
        "retries": metrics.by("retries_total", "reason"),
        "streams that lost their replica": metrics.by("resumed_streams_total", "outcome"),
        "ejections": metrics.by("replica_ejections_total", "reason"),
        "shed": metrics.by("shed_total", "reason"),
    }
    log = front.logged()
    # A worker killed between its count and its line takes one line with it.
    unwritten = metrics.total("requests_total") - len(log)
    if not 0 <= unwritten <= outcome.faults["SIGKILL of a worker"]:
        outcome.findings.append(
            f"{len(log)} lines in the access log, {metrics.total('requests_total')} counted"
        )
    outcome.failures = [line for line in log if line["status"] >= 500 or line["outcome"] == "broken"]
    if (status := await front.stop()) != 0:
        outcome.findings.append(f"the gateway ended with status {status}")


def _needlessly_lost(outcome: "Outcome", replicas: Sequence[Replica]) -> list[str]:
    """What failed although one replica of its pool was well from its beginning to its end."""
    lost = outcome.ledger.of("error") + [e for e in outcome.ledger.of("broken") if e.question.can_resume]
    return [
        f"{entry.fate} although {replica.url} was well all the while: {entry.heard.status} {entry.detail}"
        for entry in lost
        for replica in replicas
        if replica.model == entry.question.model and replica.was_well(entry.heard.began, entry.heard.ended)
    ]


async def _left_over(front: Front, replicas: Sequence[Replica], baseline: dict[str, int]) -> list[str]:
    """What is not as it was before the first request, once it had time to become so."""
    found: list[str] = []
    deadline = asyncio.get_running_loop().time() + SETTLE_S
    while asyncio.get_running_loop().time() < deadline:
        found = [
            *_gauges(await front.metrics()),
            *_more_descriptors(await front.descriptors(), baseline, SPARE_DESCRIPTORS * len(replicas)),
            *[f"{running} requests still run on {r.url}" for r in replicas if (running := await r.running())],
        ]
        if not found:
            break
        await asyncio.sleep(0.5)
    return found


def _gauges(metrics: Metrics) -> list[str]:
    names = ("replica_outstanding", "queue_depth", "resume_buffer_bytes", "client_connections")
    return [f"{name} is {value}" for name in names if (value := metrics.total(name))]


def _more_descriptors(now: dict[str, int], before: dict[str, int], spare: int) -> list[str]:
    return [
        f"{who} had {before[who]} descriptors open and has {now[who]}"
        for who in now
        if now[who] > before[who] + (spare if who == "control" else 0)
    ]


def _miscounted(outcome: "Outcome", metrics: Metrics) -> list[str]:
    """Where the gateway's totals and the ledger's differ by more than what died with killed workers."""
    fates = outcome.ledger.fates
    cut, kills = fates["cut"], len(outcome.ledger.kills)
    found = []

    def compare(what: str, counted: int, least: int, most: int) -> None:
        if not least <= counted <= most:
            found.append(f"{what}: the gateway counted {counted}, the ledger {least} to {most}")

    total = len(outcome.ledger)
    # A killed worker takes the requests with it that it had not counted yet; one whose answer was already
    # complete may be among them.
    lost = cut + (fates["left"] + outcome.plan.clients if kills else 0)
    compare("requests", metrics.total("requests_total"), total - lost, total)
    compare("requests of no pool", metrics.total("unrouted_requests_total"), 0, 0)
    compare(
        "broken",
        metrics.total("broken_streams_total"),
        fates["broken"] - kills,
        fates["broken"] + fates["left"],
    )
    codes = metrics.by("requests_total", "code")
    errors = Counter(str(entry.heard.status) for entry in outcome.ledger.of("error", "late"))
    for code in (codes.keys() | errors.keys()) - {"200", "499"}:
        compare(f"answers with {code}", codes[code], errors[code] - kills, errors[code] + fates["left"])
    return found
