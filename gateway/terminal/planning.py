"""`vllm-gateway plan`, and the plan that `up` starts from."""

import os
import sys
from pathlib import Path

import click
import orjson
from rich.console import Console

from gateway.config import Config, load
from gateway.launch.calibration import FILE_NAME, Calibration, load_calibration
from gateway.launch.command import shell_script
from gateway.launch.document import failure_document, plan_document
from gateway.launch.inventory import InventoryError, Nvml
from gateway.launch.memory.terms import Origin
from gateway.launch.plan import NoFitError, Plan
from gateway.launch.planning import PlanningError, check_launches, devices_of, plan_config
from gateway.launch.report import print_failure, print_plan
from gateway.terminal.asking import WIDTH_WITHOUT_TERMINAL
from gateway.terminal.failures import RUNTIME, BadConfiguration, Failure, configuration_errors


def show_plan(path: Path, *, as_json: bool, as_shell: bool) -> None:
    """Print what fits where, as a report, as JSON or as a script.

    Raises:
        BadConfiguration: the file, or a model it names, can't be used.
        Failure: the devices can't be listed.
        SystemExit: it does not fit; why was printed.
    """
    with configuration_errors():
        config = load(path)
    try:
        plan = planned(config, path, load_calibration(config.launch_dir))
    except NoFitError as error:
        if as_json:
            click.echo(orjson.dumps(failure_document(error), option=orjson.OPT_INDENT_2))
        else:
            print_failure(error, _console(to_stderr=True))
        raise SystemExit(RUNTIME) from None
    if as_json:
        document = plan_document(plan, config.vllm_command)
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    elif as_shell:
        click.echo(shell_script(plan, config.vllm_command), nl=False)
    else:
        console = _console()
        print_plan(plan, console, config.vllm_command)
        if measured := measured_models(plan):
            console.print(f"\nMeasured by earlier starts: {measured} ({config.launch_dir / FILE_NAME}).")


def planned(config: Config, path: Path, calibration: Calibration) -> Plan:
    """A plan of this machine, or of the devices of the configuration.

    Raises:
        BadConfiguration: a model can't be planned.
        Failure: the devices can't be listed.
        NoFitError: it does not fit.
    """
    try:
        check_launches(config)
        return plan_config(config, devices_of(config, Nvml(), os.environ), calibration, os.environ)
    except PlanningError as error:
        raise BadConfiguration(f"{path}: {error}") from None
    except InventoryError as error:
        sentence = str(error)
        raise Failure(f"{sentence[0].upper()}{sentence[1:]}.") from None


def measured_models(plan: Plan) -> str:
    """The models with numbers that an earlier start measured; empty if there are none."""
    names = [one.request.name for one in plan.instances if Origin.MEASURED in one.origins.values()]
    return ", ".join(dict.fromkeys(names))


def _console(*, to_stderr: bool = False) -> Console:
    wide = None if (sys.stderr if to_stderr else sys.stdout).isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(width=wide, stderr=to_stderr, highlight=False)
