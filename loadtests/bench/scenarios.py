"""The loads. Each isolates one thing that a gateway's users feel or pay for."""

from dataclasses import dataclass

MODEL = "demo"
STEP_US = 20_000
"""A decode step of the stand-in replicas: 50 tokens/s per stream, a usual pace of a busy GPU."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load; durations in seconds, prompts in bytes of request body."""

    name: str
    what: str
    conns: int
    seconds: float = 6.0
    body_bytes: int = 1024
    streaming: bool = False
    tokens: int = 100
    ramp_s: float = 0.0
    rounds: int = 0
    """Streams per connection; 0: as many as fit into `seconds`."""
    replica: tuple[str, ...] = ()
    pinned: bool = True
    watches_memory: bool = False

    def client_options(self, scale: float) -> list[str]:
        """The load client's options; `scale` below 1 shortens the run, for a quick look."""
        length = (
            ["--rounds", str(self.rounds)] if self.rounds else ["--seconds", f"{self.seconds * scale:.2f}"]
        )
        return [*self._shape(self.conns, self.tokens), *length, "--ramp-ms", f"{self.ramp_s * 1000:.0f}"]

    def warm_up_options(self) -> list[str]:
        """A short run before the measured one: connections open, caches and compilers warm."""
        if not self.streaming:
            return [*self._shape(self.conns, self.tokens), "--seconds", "1.5"]
        return [*self._shape(min(self.conns, 64), 1 if self.rounds else 20), "--rounds", "2"]

    def _shape(self, conns: int, tokens: int) -> list[str]:
        mode = "stream" if self.streaming else "rest"
        options = {"--conns": conns, "--body-bytes": self.body_bytes, "--tokens": tokens, "--model": MODEL}
        return [mode, *(str(part) for option in options.items() for part in option)]


def _streams(name: str, what: str, *more: str, pinned: bool = True) -> Scenario:
    replica = ("--interval-us", str(STEP_US), *more)
    return Scenario(
        name, what, conns=256, seconds=8.0, streaming=True, ramp_s=1.0, replica=replica, pinned=pinned
    )


ALL = (
    Scenario("S1", "small non-streaming requests, 64 connections", conns=64),
    Scenario("S2", "100 KB prompts, non-streaming, 32 connections", conns=32, body_bytes=102_400),
    _streams("S3", "256 streams, a token every 20 ms each, phases spread"),
    _streams("S3b", "the same in engine-step bursts: all streams at the same instant", "--together"),
    Scenario(
        "S4",
        "64 streams of 500 tokens, flat out",
        conns=64,
        seconds=4.0,
        streaming=True,
        tokens=500,
        replica=("--interval-us", "0"),
    ),
    Scenario("S5", "one connection, one request after another", conns=1, seconds=4.0),
    Scenario(
        "S6",
        "2,000 slow streams, a token a second each",
        conns=2000,
        streaming=True,
        tokens=15,
        ramp_s=5.0,
        rounds=1,
        replica=("--interval-us", "1000000"),
        watches_memory=True,
    ),
    Scenario("S1u", "as S1, nothing pinned", conns=64, pinned=False),
    _streams("S3u", "as S3, nothing pinned", pinned=False),
)
BY_NAME = {scenario.name: scenario for scenario in ALL}
PINNED = tuple(scenario.name for scenario in ALL if scenario.pinned)
