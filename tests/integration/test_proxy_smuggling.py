"""Requests whose end two parsers may see in different places.

Each is either refused, with nothing sent on, or answered once, with exactly one request sent on.
"""

import json

from gateway.proxy.settings import Settings
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, encode
from tests.integration.stand_ins import Tap, chat, sim

BODY = json.dumps(chat(max_tokens=1)).encode()
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = b"POST /v1/sim/echo HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}"
TYPE = b"content-type: application/json\r\n"
START = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\n" + TYPE
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKS = b"transfer-encoding: chunked\r\n"

ODD_CHUNKED = [
    *(b"transfer-encoding : chunked", b" transfer-encoding: chunked", b"transfer-encoding:\x0bchunked"),
    *(
        b"transfer-encoding: xchunked",
        b"transfer-encoding: chunked, identity",
        b"transfer-encoding: identity",
    ),
    *(b"transfer-encoding: chunked\r\ntransfer-encoding: identity", b"transfer-encoding\x00: chunked"),
    *(b"transfer-encoding:\tchunked", b"transfer-encoding: \x00chunked", b"transfer-encoding: 'chunked'"),
    *(b"transfer-encoding: chunked\x0b", b"transfer-encoding: CHUNKED", b"transfer-encoding: ch\xc5\xabnked"),
    *(b"transfer_encoding: chunked", b"transfer-encoding:\r\n chunked", b"x: y\ntransfer-encoding: chunked"),
    *(b"x: y\rtransfer-encoding: chunked", b"transfer-encoding;: chunked", b"\x00transfer-encoding: chunked"),
    *(b"transfer-encoding: gzip, chunked", b"transfer-encoding: chunked;q=1", b"transfer-encoding: ,chunked"),
    *(b"transfer-encoding: chunked, chunked", b"transfer-encoding:", b"transfer-encoding\xff: chunked"),
    *(b"Transfer-Encoding: chunked", b"foo: bar\r\n\ttransfer-encoding: chunked"),
]
ODD_LENGTHS = [
    *(b"content-length: +%d", b"content-length: %d,%d", b"content-length: 0x%x", b"content-length: %d "),
    *(b"content-length : %d", b"content-length: \x0b%d", b"content-length: 0%d", b"content-length: %d.0"),
    *(
        b"content-length: %d\r\ncontent-length: 3",
        b"content-length: 3\r\ncontent-length: %d",
        b"content-length: -%d",
    ),
    *(b"content-length: %d\r\ncontent-length: %d", b"content-length: %d, 3", b"content_length: %d"),
    *(b"content-length:\r\n %d", b"content-length: 1_0%d", b"content-length: %d;", b"content-length: ''%d"),
]


def filled(pattern: bytes) -> bytes:
    wanted = pattern.count(b"%d") + pattern.count(b"%x")
    return pattern % ((len(BODY),) * wanted)


MUTANTS = {
    "cl then te": START + LENGTH + CHUNKS + b"\r\n" + CHUNKED,
    "te then cl": START + CHUNKS + LENGTH + b"\r\n" + CHUNKED,
    "short cl and te": START + b"content-length: 4\r\n" + CHUNKS + b"\r\n" + CHUNKED,
    "te and 1.0": START.replace(b"1.1", b"1.0") + CHUNKS + b"\r\n" + CHUNKED,
    "no length": START + b"\r\n" + BODY,
    "bare lf": (START + LENGTH).replace(b"\r\n", b"\n") + b"\n" + BODY,
    "bare cr": (START + LENGTH).replace(b"\r\n", b"\r") + b"\r" + BODY,
    "lf before body": START + LENGTH[:-2] + b"\n\n" + BODY,
    "nul in a name": START + b"x\x00y: 1\r\n" + LENGTH + b"\r\n" + BODY,
    "no colon": START + b"nothing\r\n" + LENGTH + b"\r\n" + BODY,
    "empty name": START + b": x\r\n" + LENGTH + b"\r\n" + BODY,
    "space in the target": START.replace(b" HTTP", b" HTTP/1.1 HTTP") + LENGTH + b"\r\n" + BODY,
    "two hosts": START + b"host: other\r\n" + LENGTH + b"\r\n" + BODY,
    "chunk size with a sign": START + CHUNKS + b"\r\n" + b"+" + CHUNKED,
    "chunk size with 0x": START + CHUNKS + b"\r\n" + b"0x" + CHUNKED,
    "chunk size with underscore": START + CHUNKS + b"\r\n" + b"0_" + CHUNKED,
    "chunk size too long": START + CHUNKS + b"\r\n" + b"f" * 20 + b"\r\n" + CHUNKED,
    "chunk with bare lf": START + CHUNKS + b"\r\n" + CHUNKED.replace(b"\r\n", b"\n"),
    "chunk extension": START + CHUNKS + b"\r\n" + CHUNKED.replace(b"\r\n", b";a=b\r\n", 1),
    "chunk extension with lf": START + CHUNKS + b"\r\n" + CHUNKED.replace(b"\r\n", b";\n\r\n", 1),
    "chunk without its end": START + CHUNKS + b"\r\n" + CHUNKED.replace(b"}\r\n0", b"}0"),
    "trailer": START + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"content-length: 3\r\n\r\n",
    "trailer te": START + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"transfer-encoding: chunked\r\n\r\n",
    "a request inside the body": START
    + b"content-length: %d\r\n\r\n" % (len(BODY) + len(SMUGGLED))
    + BODY
    + SMUGGLED,
    "connection takes the length": START + b"connection: content-length\r\n" + LENGTH + b"\r\n" + BODY,
    "connection takes te": START + b"connection: transfer-encoding\r\n" + CHUNKS + b"\r\n" + CHUNKED,
    "upgrade": START + b"connection: upgrade\r\nupgrade: websocket\r\n" + LENGTH + b"\r\n" + BODY,
    **{f"te {odd!r}, chunks": START + odd + b"\r\n\r\n" + CHUNKED for odd in ODD_CHUNKED},
    **{f"cl and te {odd!r}": START + LENGTH + odd + b"\r\n\r\n" + BODY for odd in ODD_CHUNKED},
    **{f"te {odd!r} and te": START + odd + b"\r\n" + CHUNKS + b"\r\n" + CHUNKED for odd in ODD_CHUNKED},
    **{f"cl {odd!r}": START + filled(odd) + b"\r\n\r\n" + BODY for odd in ODD_LENGTHS},
    **{
        f"cl {odd!r} and te": START + filled(odd) + b"\r\n" + CHUNKS + b"\r\n" + CHUNKED
        for odd in ODD_LENGTHS
    },
}
MARKER = encode("GET", "/v1/models/marker")


async def replies(client: Client) -> list[int]:
    """The statuses of all answers up to the one to `MARKER`, or to the end of the connection."""
    found = []
    while (reply := await client.reply()).head:
        found.append(reply.status)
        if b"marker" in reply.body:
            break
    return found


# An answer behind which nothing is read: what follows might be in the protocol that was asked for.
LAST = {"upgrade": ([200],)}


async def test_a_request_is_refused_or_becomes_exactly_one_request() -> None:
    settings = Settings(body_timeout_s=0.3)
    async with sim() as replica, Front(Plan("chat", [replica.url]), settings=settings) as front:
        for name, mutant in MUTANTS.items():
            before = len(replica.requests)
            async with await Client.open(front.port) as client:
                client.send(mutant + MARKER)
                statuses = await replies(client)
            sent_on = len(replica.requests) - before
            if statuses != [200, 404]:
                assert statuses in ([400], [408], [400, 404], [404], *LAST.get(name, ())), name
            assert sent_on == statuses.count(200), name


async def test_what_stands_behind_a_request_is_seen_as_one_request_or_not_at_all() -> None:
    settings = Settings(body_timeout_s=0.3)
    async with sim() as replica, Front(Plan("chat", [replica.url]), settings=settings) as front:
        for name, mutant in MUTANTS.items():
            before = len(replica.requests)
            async with await Client.open(front.port) as client:
                client.send(mutant + SMUGGLED + MARKER)
                statuses = await replies(client)
            sent_on = len(replica.requests) - before
            if statuses != [200, 200, 404]:
                assert statuses in ([400], [408], [404], [400, 200, 404], *LAST.get(name, ())), name
            assert sent_on == statuses.count(200), name


async def test_what_is_sent_on_has_one_length_and_no_other_framing() -> None:
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        for name, mutant in MUTANTS.items():
            del tap.sent[:]
            async with await Client.open(front.port) as client:
                client.send(mutant + MARKER)
                statuses = await replies(client)
            if 200 in statuses:
                head, _, body = bytes(tap.sent).lower().partition(b"\r\n\r\n")
                assert head.count(b"content-length:") == 1, name
                assert b"content-length: %d\r\n" % len(body) in head, name
                assert b"\ntransfer-encoding" not in head, name
