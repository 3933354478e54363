"""What holds for all tests."""

import signal

# A shell without job control ignores SIGINT in what it starts in the background, `nohup` ignores SIGHUP, and
# both are inherited: a program under test would never hear of Ctrl-C or of a closed terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
