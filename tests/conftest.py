"""What holds for all tests."""

import signal

# A shell without job control ignores SIGINT in what it starts in the background, and that is inherited:
# a program under test would never hear of Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
