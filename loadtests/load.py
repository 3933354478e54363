"""One load from its settings to its report. It must never import Locust, so that tests can import this."""

import time
from collections.abc import Sequence

from loadtests.llm.fleet import Fleet, look_up
from loadtests.llm.measured import Timeline
from loadtests.llm.plan import Plan, plan
from loadtests.llm.profiles import read_profiles
from loadtests.llm.settings import Settings
from loadtests.report.run import Run

CPU_PERIOD_S = 2.5
"""Shorter, and the maximum would be about moments."""


class Load:
    """The chosen profile, the server's models, and what clients have seen so far."""

    def __init__(self, settings: Settings) -> None:
        """Read the profile.

        Raises:
            ProfileError: there is none of that name, or its file can't be read.
        """
        catalogue = read_profiles(settings.profiles)
        self.settings = settings
        self.profile = catalogue.profile(settings.profile)
        self.arrival = settings.arrival or self.profile.arrival
        self.timeline = Timeline()
        self.plan: Plan | None = None
        """While it runs; a worker of Locust has none."""
        self._shares = catalogue.arrival(self.arrival)
        self._fleets: dict[str, Fleet] = {}
        self._host = settings.host
        self._began = 0.0
        self._cpu = (time.time(), time.process_time())

    def fleet(self, host: str) -> Fleet:
        """The server's models, asked for once in a load.

        Raises:
            FleetError: it has no list, or not what the profile needs.
        """
        if host not in self._fleets:
            fleet = look_up(host, self.settings.api_key).narrowed(self.settings.models)
            fleet.check(self.profile.mix)
            self._fleets[host] = fleet
        return self._fleets[host]

    def forget(self) -> None:
        """Forget what was learnt from earlier loads."""
        self.timeline = Timeline()
        self._fleets.clear()

    def note_cpu(self) -> None:
        """Note what this process has used of a core since a while ago."""
        then, used_s = self._cpu
        now, using_s = time.time(), time.process_time()
        if now - then >= CPU_PERIOD_S:
            self._cpu = (now, using_s)
            self.timeline.used_cpu(now, 100 * (using_s - used_s) / (now - then))

    def begin(self, host: str, users: int, seconds: float) -> Plan:
        """Begin anew.

        Raises:
            FleetError: as `fleet`.
        """
        self.forget()
        self.fleet(host)
        self._host = host
        self._began = time.time()
        self.plan = plan(self._shares, users, seconds)
        return self.plan

    def end(self, problems: Sequence[tuple[int, str]]) -> Run | None:
        """Return what there is to report; None if nothing began or nobody has asked anything yet."""
        running, self.plan = self.plan, None
        if running is None:
            return None
        fleet = self.fleet(self._host)
        models = sorted({model for kind in self.profile.mix for model in fleet.models(kind)})
        run = Run(
            name=self._name(),
            profile=self.profile,
            arrival=self.arrival,
            host=self._host,
            models=tuple(models),
            target_s=self.settings.target_s or self.profile.target_s,
            plan=running,
            timeline=self.timeline,
            began=self._began,
            ended=time.time(),
            problems=tuple(problems),
        )
        return run if run.total().requests and run.levels() else None

    def _name(self) -> str:
        own = self.arrival == self.profile.arrival
        return self.settings.profile if own else f"{self.settings.profile}-{self.arrival}"
