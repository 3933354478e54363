"""`python -m gateway.terminal.tether …`: a simulated replica that ends when whoever started it ends.

It reads its standard input, a pipe that the starter keeps open and never writes to. The system closes the
pipe whatever the starter dies of, kill -9 included.
"""

import os
import signal
import sys
import threading

from gateway import sim

_STDIN = 0


def main() -> int:
    """Run the replica with this process' arguments; the exit status is the simulation's."""
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    return sim.main(sys.argv[1:])


def _end_with_the_pipe() -> None:
    while os.read(_STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
