"""The status page: one answer, no outside resources, and in it only what its policy knows by its hash."""

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Self

from aiohttp import web

STYLES = ("status.css",)
SCRIPTS = ("dom.js", "format.js", "chart.js", "parts.js", "status.js")
"""In this order they are one script."""


@dataclass(frozen=True, slots=True)
class Page:
    """The page's text and the content security policy that allows its own script and style, by hash."""

    text: str
    policy: str

    @classmethod
    def load(cls) -> Self:
        """Put the page together from the package's files."""
        style = "".join(map(_file, STYLES))
        script = '"use strict";\n' + "\n".join(map(_file, SCRIPTS))
        page = _file("status.html")
        text = page.replace("/* status.css */", style).replace("/* status.js */", script)
        policy = (
            f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
            "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        return cls(text, policy)

    def response(self) -> web.Response:
        """The page as an answer."""
        headers = {"Content-Security-Policy": self.policy}
        return web.Response(text=self.text, content_type="text/html", charset="utf-8", headers=headers)


def _file(name: str) -> str:
    return resources.files("gateway.control.admin").joinpath("status_page", name).read_text("utf-8")


def _digest(body: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'"
