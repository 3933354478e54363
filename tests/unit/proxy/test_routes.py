"""Which paths of the public listener lead where, and which lead nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.errors import MethodNotAllowed, RouteNotFound
from gateway.proxy.routes import Kind, Routes

ROUTES = Routes()
OPERATOR = (
    *("sleep", "is_sleeping", "wake_up", "pause", "is_paused", "resume", "abort_requests", "collective_rpc"),
    *("load_lora_adapter", "unload_lora_adapter", "reset_prefix_cache", "reset_mm_cache", "server_info"),
    *("reset_encoder_cache", "start_profile", "stop_profile", "scale_elastic_ep", "is_scaling_elastic_ep"),
    *("update_weights", "init_weight_transfer_engine", "get_world_size", "release_kv_cache", "invocations"),
)


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"),
        *("/v1/messages/count_tokens", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/score"),
        *(
            "/tokenize",
            "/detokenize",
            "/pooling",
            "/classify",
            "/score",
            "/rerank",
            "/v1/rerank",
            "/v2/rerank",
        ),
    ],
)
def test_every_route_that_names_a_model_is_relayed(path: str) -> None:
    assert ROUTES.find("POST", path).kind is Kind.INFERENCE


@pytest.mark.parametrize("path", ["/v1/videos/generations", "/v1/a-new_route/v2.1", "/v1/images:edit"])
def test_a_route_that_vllm_adds_later_is_relayed_below_v1(path: str) -> None:
    assert ROUTES.find("POST", path).kind is Kind.INFERENCE


def test_a_later_route_outside_v1_needs_the_configuration() -> None:
    with pytest.raises(RouteNotFound):
        ROUTES.find("POST", "/inference/v1/generate")
    assert Routes(["/inference/v1/generate"]).find("POST", "/inference/v1/generate").kind is Kind.INFERENCE


@pytest.mark.parametrize("name", OPERATOR)
@pytest.mark.parametrize("place", ["/{}", "/v1/{}", "/v1/{}/more", "/v1/models/{}"])
def test_an_operator_s_route_is_refused_wherever_it_lies(place: str, name: str) -> None:
    with pytest.raises(RouteNotFound):
        ROUTES.find("POST", place.format(name))


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/%6coad_lora_adapter", "/v1/load_lora_adapter/", "/v1//load_lora_adapter", "//v1/completions"),
        *("/v1/./load_lora_adapter", "/v1/x/../load_lora_adapter", "/v1/..", "/v1/", "/v1", "/v1/a/"),
        *("/v1/load_lora_adapter;x", "/v1/x\\..\\sleep", "/v1/x y", "/V1/completions", "/v1/x#y", ""),
        *("http://host/v1/completions", "*", "/v1/caf\xe9", "/v1/x\n", "/v1/completions\n"),
    ],
)
def test_a_path_that_another_router_may_read_differently_leads_nowhere(path: str) -> None:
    with pytest.raises(RouteNotFound):
        ROUTES.find("POST", path)


@given(st.text(st.characters(max_codepoint=255), max_size=12), st.sampled_from(OPERATOR))
def test_no_spelling_around_an_operator_s_route_gets_through(around: str, name: str) -> None:
    path = f"/v1/{around}/{name}"
    with pytest.raises(RouteNotFound):
        ROUTES.find("POST", path)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/models", Kind.MODELS),
        ("HEAD", "/v1/models", Kind.MODELS),
        ("GET", "/health", Kind.HEALTH),
        ("HEAD", "/health", Kind.HEALTH),
        ("GET", "/v1/models/meta/llama", Kind.MODEL),
    ],
)
def test_reading_routes_are_answered_here(method: str, path: str, kind: Kind) -> None:
    assert ROUTES.find(method, path).kind is kind


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/v1/completions"), ("DELETE", "/v1/chat/completions"), ("POST", "/health")),
        *(("POST", "/v1/models"), ("PUT", "/v1/models"), ("HEAD", "/tokenize")),
    ],
)
def test_a_known_path_under_another_method_is_405(method: str, path: str) -> None:
    with pytest.raises(MethodNotAllowed):
        ROUTES.find(method, path)


@pytest.mark.parametrize(
    "path", ["/metrics", "/version", "/docs", "/openapi.json", "/api/status", "/", "/ping"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_is_there(method: str, path: str) -> None:
    with pytest.raises(RouteNotFound):
        ROUTES.find(method, path)


def test_only_routes_whose_streams_are_known_have_an_end_marker() -> None:
    ends = (b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n")
    assert ROUTES.find("POST", "/v1/chat/completions").ends == ends
    assert ROUTES.find("POST", "/v1/embeddings").ends == ()
    assert len(ROUTES.find("POST", "/v1/responses").ends) == 6
