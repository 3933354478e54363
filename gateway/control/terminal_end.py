"""What SIGHUP means: a terminal that is gone, or a wish to read the configuration again."""

import os
import signal


class Terminal:
    """The terminal that this process was started from, if there was one and its end is to be ours.

    A service manager's child has none, and `nohup` says that its end means nothing.
    """

    def __init__(self) -> None:
        self._ours = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _can_be_opened()
        self._streams = [fd for fd in (0, 1, 2) if os.isatty(fd)]

    def is_gone(self) -> bool:
        """Whether it was there once and has been closed since."""
        return self._ours and not _can_be_opened()

    def let_go(self) -> None:
        """Write to nowhere from now on: last words, and Python's own at its exit, would be errors (EIO)."""
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for stream in self._streams:
            os.dup2(nowhere, stream)
        os.close(nowhere)


def _can_be_opened() -> bool:
    """The kernel takes it from the whole session before anybody hears of its end (tty(4), ENXIO)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
