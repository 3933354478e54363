"""Twenty outages that other gateways have had, and the test that stands for each of them."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
OUTAGES = {
    "one of two replicas holds two stuck streams, and new requests go there all the same": (
        "integration/test_proxy_admission.py::test_two_stuck_streams_send_everything_else_to_the_other_replica"
    ),
    "equal load goes to the first replica": (
        "integration/test_proxy_admission.py::"
        "test_equal_load_is_spread_within_a_tenth_over_replicas_and_workers"
    ),
    "errors, resets, cancelled and timed out requests make the counters drift": (
        "integration/test_proxy_storm.py::test_a_thousand_requests_of_mixed_fate_leave_nothing_behind"
    ),
    "a replica that fails fast attracts the traffic": (
        "integration/test_proxy_broken_replicas.py::test_a_replica_that_fails_fast_gets_less_than_its_share"
    ),
    "a saturated replica answers /health late and is taken out": (
        "integration/test_control_monitor.py::test_a_slow_health_check_does_not_take_a_replica_out"
    ),
    "a stream without its end marker looks like a success": (
        "integration/test_proxy_broken_streams.py::"
        "test_a_stream_that_breaks_ends_in_an_error_event_and_never_looks_complete"
    ),
    "tokens are held back and come in bursts": (
        "integration/test_proxy_streams.py::test_each_event_leaves_as_soon_as_it_is_whole"
    ),
    "a client leaves, and the engine goes on generating": (
        "integration/test_proxy_pace.py::"
        "test_a_client_that_leaves_closes_the_replica_s_connection_within_a_second"
    ),
    "a prompt with images is too large for a default": (
        "integration/test_proxy_http.py::test_a_body_up_to_the_limit_passes_and_one_byte_more_is_413"
    ),
    "slow bodies hold all connections": (
        "integration/test_proxy_http.py::test_slow_bodies_are_closed_at_the_deadline_and_disturb_nobody"
    ),
    "a reload cuts running streams": (
        "integration/test_control_plane.py::test_streams_go_on_while_replicas_are_added_and_removed"
    ),
    "a killed gateway leaves engines behind that hold the GPU": (
        "integration/test_up.py::test_kill_9_of_control_leaves_nothing"
    ),
    "keys appear in logs or reach the wrong server": (
        "integration/test_proxy_identity.py::test_secrets_neither_reach_a_replica_nor_a_log"
    ),
    "one client request becomes two at the replica": (
        "integration/test_proxy_smuggling.py::test_a_request_is_refused_or_becomes_exactly_one_request"
    ),
    "the engine hangs, /health says 200, and the replica stays in rotation": (
        "integration/test_outages.py::test_an_engine_that_hangs_while_its_health_says_200_loses_its_streams_to_another"
    ),
    "all probes time out, and the whole pool is gone": (
        "integration/test_outages.py::test_when_the_probes_of_all_replicas_time_out_requests_still_flow"
    ),
    "a POST crosses the end of a kept connection": (
        "integration/test_outages.py::test_posts_at_the_pace_of_the_replica_s_keep_alive_never_fail"
    ),
    "a restart of the gateway cuts running streams": (
        "integration/test_outages.py::test_on_sigterm_all_open_streams_finish_and_nobody_new_is_taken"
    ),
    "memory or descriptors grow until the gateway is killed": (
        "integration/test_outages.py::test_memory_and_descriptors_stay_flat"
    ),
    "every name that a client makes up becomes a time series": (
        "integration/test_outages.py::test_what_clients_make_up_becomes_no_label"
    ),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_each_outage_has_a_test(outage: str) -> None:
    file, _, name = OUTAGES[outage].partition("::")
    tree = ast.parse((TESTS / file).read_text())
    tests = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)}
    assert name in tests


def test_there_are_twenty() -> None:
    assert len(set(OUTAGES.values())) == len(OUTAGES) == 20
