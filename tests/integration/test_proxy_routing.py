"""Model names and routes through a whole data plane."""

import json
from hashlib import sha256

import pytest

from gateway.fleet.snapshot import State
from tests.integration.harness import Front, Plan
from tests.integration.sim_client import Client, ask, encode, until
from tests.integration.stand_ins import Tap, chat, completion, sim, unused_url

CHAT = "/v1/chat/completions"


# -- names --


async def test_two_models_on_two_replicas_are_two_pools() -> None:
    async with (
        sim("chat") as a,
        sim("code") as b,
        Front(Plan("chat", [a.url]), Plan("code", [b.url])) as front,
    ):
        for model in ("chat", "code", "code"):
            assert (await ask(front.port, "POST", CHAT, chat(model=model))).json["model"] == model
        assert [len(a.requests), len(b.requests)] == [1, 2]


async def test_the_body_reaches_the_replica_as_the_client_wrote_it() -> None:
    body = b'{ "messages":[{"role":"user","content":"h\\u00e9"}],\r\n "unheard_of": 1.0e0, "model" : "chat" }'
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        assert (await ask(front.port, "POST", CHAT, body)).status == 200
        assert replica.requests[0].body_sha256 == sha256(body).hexdigest()


async def test_an_alias_is_spliced_into_the_body_and_nothing_else_changes() -> None:
    body = b'{ "x":{"model":"gpt-4o"}, "model":"other", "model" :\t"gpt-4o", "messages":[] }'
    async with (
        sim() as replica,
        Tap(replica.port) as tap,
        Front(Plan("chat", [tap.url], aliases=["gpt-4o"])) as front,
    ):
        reply = await ask(front.port, "POST", CHAT, body)
        assert reply.status in {200, 400}  # whatever the replica thinks of no messages
        assert tap.sent.endswith(
            b'\r\n\r\n{ "x":{"model":"gpt-4o"}, "model":"other", "model" :\t"chat", "messages":[] }'
        )
        assert b"\r\ncontent-length: %d\r\n" % (len(body) - 2) in tap.sent


async def test_an_alias_of_an_adapter_is_spliced_as_well_and_the_log_names_both() -> None:
    async with sim(adapters=(("sql-lora", "loras/sql"),)) as replica:
        plan = Plan("chat", [replica.url], adapters={"sql-lora": [replica.url]}, aliases=["x"])
        async with Front(plan) as front:
            reply = await ask(front.port, "POST", CHAT, chat(model="sql-lora"))
            assert reply.json["model"] == "sql-lora"
            assert (front.records[0].model, front.records[0].adapter) == ("sql-lora", "sql-lora")
            await ask(front.port, "POST", CHAT, chat())
            assert (front.records[1].model, front.records[1].adapter) == ("chat", "")


async def test_an_adapter_s_requests_go_only_to_replicas_that_have_it_also_when_it_appears_later() -> None:
    loras = (("sql", "loras/sql"),)
    async with sim(adapters=loras) as a, sim() as b, sim() as c:
        urls = [a.url, b.url, c.url]
        async with Front(Plan("chat", urls, adapters={"sql": [a.url]})) as front:
            for _ in range(6):
                assert (await ask(front.port, "POST", CHAT, chat(model="sql"))).status == 200
            assert [len(r.requests) for r in (a, b, c)] == [6, 0, 0]
            b.state.adapters["sql"] = "loras/sql"
            front.show(Plan("chat", urls, adapters={"sql": [a.url, b.url]}))
            for _ in range(6):
                assert (await ask(front.port, "POST", CHAT, chat(model="sql"))).status == 200
            assert [len(r.requests) for r in (a, b, c)] == [9, 3, 0]
            front.show(Plan("chat", urls))
            assert (await ask(front.port, "POST", CHAT, chat(model="sql"))).status == 404


async def test_an_adapter_that_the_replica_lost_is_the_replica_s_404_untouched() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url], adapters={"sql": [replica.url]})) as front:
        through = await ask(front.port, "POST", CHAT, chat(model="sql"))
        direct = await ask(replica.port, "POST", CHAT, chat(model="sql"))
        assert (through.status, through.body) == (404, direct.body)
        assert through.header("x-gateway-error") is None


async def test_an_unknown_model_is_404_in_vllm_s_shape_and_nobody_is_asked() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        reply = await ask(front.port, "POST", CHAT, chat(model="nope"))
        assert reply.status == 404
        assert reply.json == {
            "error": {
                "message": "The model `nope` does not exist.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
        }
        assert reply.header("x-gateway-error") == "model_not_found"
        assert replica.requests == []


@pytest.mark.parametrize("model", ["x" * 100_000, "\ud800\udfff\ud800", "é" * 300, "a\x00b"])
async def test_an_odd_model_name_is_answered_shortly(model: str) -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        reply = await ask(front.port, "POST", CHAT, json.dumps({"model": model, "messages": []}).encode())
        assert reply.status == 404
        assert len(reply.body) < 1500
        assert (await ask(front.port, "POST", CHAT, chat())).status == 200


async def test_no_model_name_means_the_only_pool_there_is() -> None:
    nameless = {"messages": [{"role": "user", "content": "hi"}]}
    async with sim("chat") as a, sim("code") as b, Front(Plan("chat", [a.url])) as front:
        assert (await ask(front.port, "POST", CHAT, nameless)).status == 200
        front.show(Plan("chat", [a.url]), Plan("code", [b.url]))
        reply = await ask(front.port, "POST", CHAT, nameless)
        assert (reply.status, reply.json["error"]["param"]) == (400, "model")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": 1}', b"\xff\xfe", b"[" * 50_000])
async def test_a_body_that_names_no_model_is_400_and_the_connection_goes_on(body: bytes) -> None:
    async with (
        sim() as replica,
        Front(Plan("chat", [replica.url])) as front,
        await Client.open(front.port) as client,
    ):
        reply = await client.ask("POST", CHAT, body)
        assert (reply.status, reply.json["error"]["type"]) == (400, "BadRequestError")
        assert (await client.ask("POST", CHAT, chat())).status == 200
        assert len(replica.requests) == 1


async def test_the_model_list_is_the_gateway_s_own_and_one_model_can_be_asked_for() -> None:
    async with Front(Plan("org/chat", [], aliases=["gpt"], adapters={"sql": []})) as front:
        listed = await ask(front.port, "GET", "/v1/models")
        assert [card["id"] for card in listed.json["data"]] == ["org/chat", "gpt", "sql"]
        assert (await ask(front.port, "GET", "/v1/models/org/chat")).json["id"] == "org/chat"
        assert (await ask(front.port, "GET", "/v1/models/org%2Fchat")).json["id"] == "org/chat"
        assert (await ask(front.port, "GET", "/v1/models/sql")).json["parent"] == "org/chat"
        missing = await ask(front.port, "GET", "/v1/models/nope")
        assert (missing.status, missing.json["error"]["param"]) == (404, "model")


async def test_a_route_that_vllm_adds_later_is_relayed_and_an_operator_s_route_is_not() -> None:
    async with sim() as replica, Front(Plan("chat", [replica.url])) as front:
        body = {"model": "chat", "any": [1, 2]}
        reply = await ask(front.port, "POST", "/v1/sim/echo?a=%20b", body)
        assert reply.json == body
        assert replica.requests[0].path == "/v1/sim/echo"
        for path in (
            "/v1/load_lora_adapter",
            "/sleep",
            "/v1/%6coad_lora_adapter",
            "/v1/../sleep",
            "/sim/faults",
        ):
            assert (await ask(front.port, "POST", path, body)).status == 404
        assert len(replica.requests) == 1


async def test_the_query_goes_along() -> None:
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url])) as front:
        await ask(front.port, "POST", "/v1/sim/echo?a=%20b&c=/../d", {"model": "chat"})
        assert tap.sent.startswith(b"POST /v1/sim/echo?a=%20b&c=/../d HTTP/1.1\r\n")


async def test_a_replica_s_path_is_put_before_the_route() -> None:
    async with sim() as replica, Tap(replica.port) as tap, Front(Plan("chat", [tap.url + "/vllm/"])) as front:
        await ask(front.port, "POST", "/v1/sim/echo", {"model": "chat"})
        assert tap.sent.startswith(b"POST /vllm/v1/sim/echo HTTP/1.1\r\n")


# -- ready or not --


async def test_health_says_whether_anybody_is_up_and_head_says_it_without_a_body() -> None:
    async with Front(Plan("chat", [])) as front, await Client.open(front.port) as client:
        assert (await client.ask("GET", "/health")).json == {"status": "ok"}
        for _ in range(2):
            client.send(encode("HEAD", "/health"))
            assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        front.show()
        reply = await client.ask("GET", "/health")
        assert (reply.status, reply.json) == (503, {"status": "no replica is up"})
        front.planes[0].gateway.draining = True
        reply = await client.ask("GET", "/health")
        assert (reply.status, reply.json) == (503, {"status": "draining"})
        assert reply.header("connection") == "close"
        assert await client.rest() == b""


@pytest.mark.parametrize("path", ["/nope", "/v1/models/nope", "/v1/completions"])
async def test_an_error_in_answer_to_head_leaves_the_connection_in_step(path: str) -> None:
    async with Front(Plan("chat", [])) as front, await Client.open(front.port) as client:
        client.send(encode("HEAD", path) + encode("GET", "/health"))
        assert (await client.head()).split(b" ")[1] in {b"404", b"405"}
        assert (await client.reply()).status == 200


# -- replicas that can't be asked --


@pytest.mark.parametrize("state", [State.REFUSED, State.STARTING])
async def test_a_known_model_without_a_usable_replica_is_503_with_retry_after(state: State) -> None:
    url = unused_url()
    async with Front(Plan("chat", [url], states={url: state})) as front:
        reply = await ask(front.port, "POST", CHAT, chat())
        assert (reply.status, reply.header("x-gateway-error")) == (503, "no_replica")
        assert int(reply.header("retry-after") or 0) >= 1
        assert reply.json["error"]["type"] == "ServiceUnavailableError"


async def test_a_draining_replica_finishes_what_it_has_and_gets_nothing_new() -> None:
    async with sim() as a, sim() as b:
        a.set_faults(stall_after_tokens=2)
        async with Front(Plan("chat", [a.url])) as front, await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat(stream=True, max_tokens=5)))
            await client.head()
            front.show(Plan("chat", [a.url, b.url], draining=[a.url]))
            for _ in range(5):
                assert (await ask(front.port, "POST", CHAT, chat())).status == 200
            assert front.outstanding(a.url) == 1
            assert [len(a.requests), len(b.requests)] == [1, 5]


async def test_completions_and_embeddings_pass_as_chat_does() -> None:
    async with (
        sim() as a,
        sim("embed", pooling=True) as b,
        Front(Plan("chat", [a.url]), Plan("embed", [b.url])) as front,
    ):
        assert (await ask(front.port, "POST", "/v1/completions", completion())).json[
            "object"
        ] == "text_completion"
        reply = await ask(front.port, "POST", "/v1/embeddings", {"model": "embed", "input": "hi"})
        assert reply.json["object"] == "list"


async def test_a_snapshot_that_takes_a_busy_replica_away_lets_it_finish() -> None:
    async with sim() as a, sim() as b:
        a.set_faults(first_byte_delay_s=0.2)
        async with Front(Plan("chat", [a.url])) as front, await Client.open(front.port) as client:
            client.send(encode("POST", CHAT, chat()))
            await until(lambda: len(a.requests) == 1)
            front.show(Plan("chat", [b.url]))
            assert (await client.reply()).status == 200
            assert front.records[-1].replica == a.url
            assert (await ask(front.port, "POST", CHAT, chat())).status == 200
            assert len(b.requests) == 1
