"""``python -m gateway.sim``."""

import sys

from gateway.sim.run import main

if __name__ == "__main__":
    sys.exit(main())
