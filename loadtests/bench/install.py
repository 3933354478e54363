"""Installs the peers that come from PyPI, each into a virtual environment of its own."""

import subprocess
import sys

from loadtests.bench.errors import BenchError
from loadtests.bench.peers import PEERS, Peer


def install(peer: Peer) -> None:
    """Create .cache/peers/NAME and install the peer there.

    Raises:
        BenchError: pip failed.
    """
    folder = PEERS / peer.name
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, *peer.requirement], check=True)
    except subprocess.CalledProcessError as error:
        raise BenchError(f"{peer.name} could not be installed (see above)") from error
