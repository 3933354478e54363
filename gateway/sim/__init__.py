"""A simulated vLLM replica: same HTTP surface and bytes, a batch/KV clock, fault switches.

Shares no code with the gateway, so that it can't share its bugs. For tests, demos and load.
"""

from gateway.sim.engine import EngineLimits
from gateway.sim.faults import Faults
from gateway.sim.options import SimOptions
from gateway.sim.replica import ReplicaProcess, SimulatedReplica, spawn
from gateway.sim.run import main, run
from gateway.sim.state import LoggedRequest
from gateway.sim.text import decode, encode, expected_text, prompt_ids

__all__ = [
    "EngineLimits",
    "Faults",
    "LoggedRequest",
    "ReplicaProcess",
    "SimOptions",
    "SimulatedReplica",
    "decode",
    "encode",
    "expected_text",
    "main",
    "prompt_ids",
    "run",
    "spawn",
]
