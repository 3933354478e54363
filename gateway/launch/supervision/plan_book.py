"""The plan that holds now: the one owner of who has how much, while servers are planned anew one by one."""

from gateway.launch.bootlog import BootLog
from gateway.launch.plan import Plan, PlannedInstance
from gateway.launch.replanning import change_in_words, replanned, with_instance
from gateway.launch.supervision.measuring import Calibrator


class PlanBook:
    """Gives out each server's place, and smaller ones to servers that ran out of memory."""

    def __init__(self, plan: Plan, calibrator: Calibrator) -> None:
        self._calibrator = calibrator
        self.plan = plan

    def instance(self, label: str) -> PlannedInstance:
        """The place of a server.

        Raises:
            LookupError: the plan has none of that name.
        """
        for planned in self.plan.instances:
            if planned.request.label == label:
                return planned
        raise LookupError(f"the plan has no {label}")

    def shrink(self, label: str, log: BootLog, missing_bytes: int | None) -> str:
        """Plan a server anew with what its failed start said; returns the change in words.

        Raises:
            NoFitError: it needs more than there is.
        """
        failed = self.instance(label)
        measured = self._calibrator.after_failure(failed, log)
        found = replanned(self.plan, failed, measured, missing_bytes)
        self.plan = with_instance(self.plan, found)
        return change_in_words(failed, found)
