"""The servers that this gateway launched, as replicas of its fleet.

Turns what the launcher tells into the fleet's state and the journal. Starts nothing: whoever supervises the
servers lives beside the control plane and tells it.
"""

import logging
from collections.abc import Iterable, Mapping

from gateway.config import Config, Secrets, effective
from gateway.control.admin.status import DeviceStatus
from gateway.control.fleet_state import FleetState
from gateway.control.journal import Journal
from gateway.control.memory_plan import devices_of
from gateway.control.monitor import Monitor
from gateway.fleet.observation import Observation, Owner
from gateway.launch.plan import Plan
from gateway.launch.supervision.events import (
    Answering,
    Calibrated,
    Ended,
    GivenUp,
    Happening,
    Replanned,
    Server,
    Starting,
)

WAITING = "waits for its turn to start"


class LaunchedReplicas:
    """What control makes of the launcher's words. `devices` and `warnings` are for the status."""

    def __init__(self, state: FleetState, monitor: Monitor, journal: Journal) -> None:
        self._state = state
        self._monitor = monitor
        self._journal = journal
        self._urls: Mapping[str, str] = {}
        self._given_up: dict[str, str] = {}
        self.devices: tuple[DeviceStatus, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each server that was given up."""
        return tuple(
            f"{label} is given up until the configuration is reloaded: {why}"
            for label, why in self._given_up.items()
        )

    @property
    def is_empty(self) -> bool:
        """Whether this gateway launches nothing."""
        return not self._urls

    def expect(self, servers: Iterable[Server], plan: Plan) -> None:
        """These replicas are in the fleet and will be started."""
        self._urls = {server.label: server.url for server in servers}
        self.devices = devices_of(plan, self._urls)
        for url in self._urls.values():
            self._state.loading(url, WAITING)

    def hear(self, happening: Happening) -> None:
        """The launcher says that this happened."""
        server = happening.server
        match happening:
            case Starting(doing=doing):
                self._given_up.pop(server.label, None)
                self._state.loading(server.url, doing)
            case Answering(took_s=took_s):
                self._note(server, "server_started", f"answers {took_s:.0f} s after its start")
                # Its next probe may be seconds away, and clients wait.
                self._monitor.suspect(server.url)
            case Ended(why=why, pause_s=pause_s):
                words = f"{why}; it is started again in {pause_s:g} s"
                self._note(server, "server_ended", words, logging.ERROR)
            case Replanned(why=why, change=change, plan=plan):
                self.devices = devices_of(plan, self._urls)
                words = f"{why}; it is started again with less memory ({change})"
                self._note(server, "server_replanned", words, logging.WARNING)
            case GivenUp(why=why):
                self._given_up[server.label] = why
                self._state.given_up(server.url, why)
                self._note(server, "server_given_up", f"it is not started again: {why}", logging.ERROR)
            case Calibrated():
                self._note(server, "server_measured", "what it measured is kept for the next plan")

    def _note(self, server: Server, kind: str, message: str, level: int = logging.INFO) -> None:
        self._journal.note(kind, message, model=server.model, replica=server.url, level=level)


def observation_of(config: Config, secrets: Secrets, server: Server) -> Observation:
    """A launched server as a replica of its model's pool."""
    variable = effective(config, server.model).api_key_env
    return Observation(
        url=server.url,
        owner=Owner.LAUNCHED,
        pool=server.model,
        authorization=None if variable is None else f"Bearer {secrets.api_keys[variable]}",
    )
