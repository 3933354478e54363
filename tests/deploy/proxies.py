"""nginx and HAProxy on the deployed configuration, with other ports and certificates."""

import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.deploy.programs import DEPLOY, listening, started
from tests.integration.commands import closed_port

HOST = "llm.example.com"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running TLS proxy in front of one gateway."""

    port: int
    plain_port: int
    authority: Path
    process: Process
    reload_signal: signal.Signals

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def reload(self) -> None:
        """Read the configuration again, as an operator makes it do."""
        self.process.send_signal(self.reload_signal)


def fitted(text: str, changes: Mapping[str, str]) -> str:
    """The deployed text with these places changed, each of which must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def nginx(folder: Path, gateway: str) -> AsyncIterator[Proxy]:
    certificate, key, authority = _certificates(folder)
    port, plain_port = closed_port(), closed_port()
    site = fitted(
        (DEPLOY / "nginx/vllm-gateway.conf").read_text("utf-8"),
        {
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            "listen 80;": f"listen 127.0.0.1:{plain_port};",
            "server 127.0.0.1:8000;": f"server {gateway};",
            f"/etc/ssl/certs/{HOST}.pem": str(certificate),
            f"/etc/ssl/private/{HOST}.key": str(key),
        },
    )
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Debian's own nginx.conf has much the same around conf.d/*.conf.
    (folder / "nginx.conf").write_text(
        f"{'user root;' if os.geteuid() == 0 else ''}\n"
        f"daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}include {folder}/site.conf;\n}}\n"
    )
    async with started("nginx", "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf") as process:
        await listening(port, process)
        yield Proxy(port, plain_port, authority, process, signal.SIGHUP)


@asynccontextmanager
async def haproxy(folder: Path, gateway: str) -> AsyncIterator[Proxy]:
    certificate, key, authority = _certificates(folder)
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    port, plain_port = closed_port(), closed_port()
    configuration = fitted(
        (DEPLOY / "haproxy/haproxy.cfg").read_text("utf-8"),
        {
            "bind :443 ": f"bind 127.0.0.1:{port} ",
            "bind :80\n": f"bind 127.0.0.1:{plain_port}\n",
            "gateway1 127.0.0.1:8000": f"gateway1 {gateway}",
            f"/etc/haproxy/certs/{HOST}.pem": str(both),
        },
    )
    (folder / "haproxy.cfg").write_text(configuration)
    # -W: a master that reloads, as Debian's unit starts it. -db: in the foreground.
    async with started("haproxy", "-W", "-db", "-f", folder / "haproxy.cfg") as process:
        await listening(port, process)
        yield Proxy(port, plain_port, authority, process, signal.SIGUSR2)


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, "127.0.0.1")
    certificate, key, root = folder / "certificate.pem", folder / "key.pem", folder / "authority.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(root)
    return certificate, key, root


PROXIES = {"nginx": nginx, "haproxy": haproxy}
