"""The simulated engine: a batch and KV-cache clock in the manner of vLLM's v1 scheduler.

Owns who runs, who waits, how long a step takes and how many KV blocks are held. Pure: time comes in as
an argument, tokens and text are somebody else's. A step that has begun computes prompt chunks and one
decode position for every running request; its tokens come out when it ends.
"""

from bisect import insort
from dataclasses import dataclass

WAITING, RUNNING, GONE = "waiting", "running", "gone"


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the engine can do at a time, and how fast."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    step_s: float = 0.02
    prefill_tokens_per_s: float = 20_000.0  # 0: prompts cost no time
    num_gpu_blocks: int = 65_536
    block_size: int = 16
    priority_scheduling: bool = False  # --scheduling-policy priority; else first come, first served


class EngineRequest:
    """One sequence inside the engine.

    The owner may set `paused` to withhold it from decoding; `state`, `blocks` (KV blocks held) and
    `computed` (tokens in the cache) are the engine's.
    """

    __slots__ = ("arrival", "blocks", "computed", "generated", "paused", "priority", "prompt_tokens", "state")

    def __init__(self, prompt_tokens: int, priority: int = 0) -> None:
        self.prompt_tokens = prompt_tokens
        self.priority = priority
        self.arrival = 0
        self.generated = 0
        self.paused = False
        self.state = GONE
        self.blocks = 0
        self.computed = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.generated

    def advance(self) -> None:
        """Take the token that the engine has computed. The engine itself never calls this."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<EngineRequest {self.state} {self.prompt_tokens}+{self.generated} blocks={self.blocks}>"


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What vLLM publishes about its scheduler after each step. Counts since start, but for the gauges."""

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0  # share of all blocks, 0 to 1
    steps: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0


class Engine:
    """Schedules requests; the caller keeps the time.

    Call `begin` when something may be runnable, wait until the time it returns, call `finish`, hand out
    a token to each request it returns, and begin again.
    """

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self._waiting: list[tuple[int, int, EngineRequest]] = []
        self._running: dict[EngineRequest, None] = {}
        self._free_blocks = limits.num_gpu_blocks
        self._arrivals = 0
        self._preempted = 0
        self._ends_at: float | None = None
        self._last_end = float("-inf")
        self._decoding: list[EngineRequest] = []
        self._steps = self._prompt_tokens = self._generation_tokens = 0

    @property
    def is_stepping(self) -> bool:
        return self._ends_at is not None

    def add(self, request: EngineRequest) -> None:
        """Queue a request: by arrival, or by priority (lower first) where the policy says so."""
        self._arrivals += 1
        request.arrival = self._arrivals
        self._enqueue(request)

    def remove(self, request: EngineRequest) -> None:
        """Forget a request, finished or aborted; a second time does nothing."""
        if request.state == WAITING:
            self._waiting.remove(self._key(request))
        elif request.state == RUNNING:
            del self._running[request]
            self._release(request)
        request.state = GONE

    def begin(self, now: float) -> float | None:
        """Schedule a step.

        Returns:
            When it ends, on the clock of `now`; None if there is nothing to compute.
        """
        self._admit()
        self._decoding, prefilled = self._schedule()
        if not self._decoding and not prefilled:
            return None
        limits = self.limits
        duration = limits.step_s
        if limits.prefill_tokens_per_s:
            duration += prefilled / limits.prefill_tokens_per_s
        # A timer fires a little late; starting from when the last step should have ended keeps the pace.
        begins_at = self._last_end if 0 <= now - self._last_end < limits.step_s else now
        self._ends_at = begins_at + duration
        return self._ends_at

    def finish(self) -> list[EngineRequest]:
        """End the step. Returns the requests that got a token, in the order they were admitted."""
        self._steps += 1
        if self._ends_at is not None:
            self._last_end = self._ends_at
            self._ends_at = None
        produced = [request for request in self._decoding if self._grow(request)]
        self._generation_tokens += len(produced)
        self._decoding = []
        return produced

    def stats(self) -> EngineStats:
        total = self.limits.num_gpu_blocks
        return EngineStats(
            running=len(self._running),
            waiting=len(self._waiting),
            kv_usage=(total - self._free_blocks) / total,
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            generation_tokens=self._generation_tokens,
            preemptions=self._preempted,
        )

    # -- scheduling --

    def _key(self, request: EngineRequest) -> tuple[int, int, EngineRequest]:
        # `arrival` is unique, so the request itself is never compared.
        return (request.priority if self.limits.priority_scheduling else 0, request.arrival, request)

    def _enqueue(self, request: EngineRequest) -> None:
        request.state = WAITING
        insort(self._waiting, self._key(request))

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self.limits.max_num_seqs:
            request = self._waiting[0][2]
            blocks = self._blocks_for(request.tokens + 1)
            if blocks > self._free_blocks:
                if self._running:
                    return
                blocks = self._free_blocks  # alone and too big: let it have what there is
            del self._waiting[0]
            request.state = RUNNING
            request.blocks = blocks
            request.computed = 0
            self._free_blocks -= blocks
            self._running[request] = None

    def _schedule(self) -> tuple[list[EngineRequest], int]:
        """Return who gets a token from this step, and how many prompt tokens it computes."""
        budget = self.limits.max_num_batched_tokens
        decoding = []
        prefilled = 0
        for request in self._running:
            missing = request.tokens - request.computed
            if missing > 1:
                chunk = min(missing, budget)
                request.computed += chunk
                prefilled += chunk
                budget -= chunk
                if chunk < missing:
                    continue
            else:
                request.computed += missing
            if not request.paused:
                decoding.append(request)
        return decoding, prefilled

    # -- KV blocks --

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_size)

    def _release(self, request: EngineRequest) -> None:
        self._free_blocks += request.blocks
        request.blocks = 0

    def _grow(self, request: EngineRequest) -> bool:
        """Give a running request its token's place; False if it was preempted or is gone."""
        if request.state != RUNNING:
            return False
        needed = self._blocks_for(request.tokens + 1) - request.blocks
        while needed > self._free_blocks and len(self._running) > 1:
            victim = next(reversed(self._running))
            self._preempt(victim)
            if victim is request:
                return False
        granted = max(0, min(needed, self._free_blocks))
        request.blocks += granted
        self._free_blocks -= granted
        if request.generated == 0:
            self._prompt_tokens += request.prompt_tokens
        request.generated += 1
        return True

    def _preempt(self, request: EngineRequest) -> None:
        """Take the youngest request's blocks; it will be computed again from its first token."""
        self._preempted += 1
        del self._running[request]
        self._release(request)
        self._enqueue(request)
