"""The fleet as Prometheus' HTTP service discovery wants it, so that vLLM's metrics need no second list."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from gateway.fleet.snapshot import Snapshot


def targets(snapshot: Snapshot) -> list[dict[str, Any]]:
    """One target group a replica (prometheus.io/docs/prometheus/latest/http_sd), in the snapshot's order."""
    pools_of: dict[str, list[str]] = {}
    for pool in snapshot.pools.values():
        for replica in pool.replicas:
            pools_of.setdefault(replica.id, []).append(pool.name)
    return [_group(url, pools) for url, pools in pools_of.items()]


def _group(url: str, pools: Iterable[str]) -> dict[str, Any]:
    split = urlsplit(url)
    labels = {
        "__scheme__": split.scheme,
        "__metrics_path__": f"{split.path}/metrics",
        "model": ",".join(pools),
        "replica": url,
    }
    return {"targets": [split.netloc], "labels": labels}
