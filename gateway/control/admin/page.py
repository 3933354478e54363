"""The status page: one file, no outside resources, readable by the browser only as far as its policy says."""

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Self

from aiohttp import web

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """The page's text and the content security policy that allows its own script and style, by hash."""

    text: str
    policy: str

    @classmethod
    def load(cls) -> Self:
        """Read the page from the package."""
        text = resources.files("gateway.control.admin").joinpath("status.html").read_text("utf-8")
        own = {tag: _digest(body) for tag, body in _INLINE.findall(text)}
        policy = (
            f"default-src 'none'; script-src {own['script']}; style-src {own['style']}; connect-src 'self'; "
            "img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        return cls(text, policy)

    def response(self) -> web.Response:
        """The page as an answer."""
        headers = {"Content-Security-Policy": self.policy}
        return web.Response(text=self.text, content_type="text/html", charset="utf-8", headers=headers)


def _digest(body: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'"
