"""Listen addresses and replica URLs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.addresses import Address, parse_address, parse_endpoint_url, parse_replica_url
from gateway.config.errors import Invalid


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:8000", Address("127.0.0.1", 8000)),
        ("[::1]:8000", Address("::1", 8000)),
        (":8000", Address("", 8000)),
        ("localhost:0", Address("localhost", 0)),
        ("LLM.example.com:443", Address("llm.example.com", 443)),
        (Address("::", 1), Address("::", 1)),
    ],
)
def test_an_address_has_a_host_and_a_port(written: object, address: Address) -> None:
    assert parse_address(written) == address


@pytest.mark.parametrize(
    "written",
    [
        "",
        "8000",
        "127.0.0.1",
        "::1:8000",
        "[::1]",
        "[nope]:1",
        "300.0.0.1:1",
        "1.2.3:1",
        "a b:1",
        "*:8000",
        "-:1",
        "h:-1",
        8000,
        None,
        [],
    ],
)
def test_what_is_not_an_address_is_refused(written: object) -> None:
    with pytest.raises(Invalid, match=r"is not an address$") as caught:
        parse_address(written)
    assert caught.value.hint == 'write 127.0.0.1:8000, :8000 for all interfaces, or "[::1]:8000" in quotes'


def test_a_port_ends_at_65535() -> None:
    assert parse_address(":65535").port == 65_535
    with pytest.raises(Invalid, match="65536 is not a port"):
        parse_address(":65536")


@pytest.mark.parametrize("written", ["127.0.0.1:8000", "[::1]:8000", ":8000", "localhost:0"])
def test_an_address_is_written_as_it_was_read(written: str) -> None:
    assert str(parse_address(written)) == written


@pytest.mark.parametrize(
    ("written", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("gateway:1", False),
    ],
)
def test_only_loopback_is_not_reachable_from_elsewhere(written: str, loopback: bool) -> None:  # noqa: FBT001
    assert parse_address(written).is_loopback is loopback


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:1", ":1", True),
        ("0.0.0.0:1", "10.0.0.1:1", True),
        ("10.0.0.1:1", "10.0.0.2:1", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_two_listeners_clash_on_one_port_of_one_interface(one: str, other: str, clash: bool) -> None:  # noqa: FBT001
    assert parse_address(one).clashes_with(parse_address(other)) is clash
    assert parse_address(other).clashes_with(parse_address(one)) is clash


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("http://10.0.0.1:8000/", "http://10.0.0.1:8000"),
        ("HTTP://Host", "http://host:80"),
        ("https://host", "https://host:443"),
        ("https://host/prefix//", "https://host:443/prefix"),
        ("http://[::1]:8000/a/b", "http://[::1]:8000/a/b"),
        ("http://host/v1beta", "http://host:80/v1beta"),
    ],
)
def test_a_replica_url_has_one_form(written: str, url: str) -> None:
    assert parse_replica_url(written) == url
    assert parse_replica_url(url) == url


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ("10.0.0.1:8000", "'10.0.0.1:8000' is not an http or https URL", "write http://10.0.0.1:8000"),
        ("ftp://host", "'ftp://host' is not an http or https URL", "write http://10.0.0.1:8000"),
        ("http:/host", "'http:/host' is not an http or https URL", "write http://10.0.0.1:8000"),
        ("http://", "'http://' is not an http or https URL", "write http://10.0.0.1:8000"),
        ("http://:80", "'http://:80' is not a URL", "write http://10.0.0.1:8000"),
        ("http://host:0", "'http://host:0' is not a URL", "write http://10.0.0.1:8000"),
        ("http://host:99999", "'http://host:99999' is not a URL", "write http://10.0.0.1:8000"),
        ("http://[::1", "'http://[::1' is not a URL", "write http://10.0.0.1:8000"),
        ("http://300.1.1.1", "'http://300.1.1.1' is not a URL", "write http://10.0.0.1:8000"),
        ("http://ho st", "'http://ho st' is not a URL", "only printable ASCII characters, no spaces"),
        ("http://höst", "'http://höst' is not a URL", "only printable ASCII characters, no spaces"),
        ("http://h\n", "'http://h\\n' is not a URL", "only printable ASCII characters, no spaces"),
        ("http://h/v1", "'http://h/v1' ends in /v1, which the gateway adds itself", "write http://h:80"),
        (
            "http://h/a/v1/",
            "'http://h/a/v1/' ends in /v1, which the gateway adds itself",
            "write http://h:80/a",
        ),
        ("http://h?a=SECRET", "the URL must not have a query or a fragment", "write http://10.0.0.1:8000"),
        ("http://h/?", "the URL must not have a query or a fragment", "write http://10.0.0.1:8000"),
        ("http://h/#", "the URL must not have a query or a fragment", "write http://10.0.0.1:8000"),
        (
            "http://u:SECRET@h",
            "the URL must not carry a user name or password",
            "name its variable in api_key_env",
        ),
        (
            "u:SECRET@h?x",
            "the URL must not carry a user name or password",
            "name its variable in api_key_env",
        ),
        (8000, "8000 is not a URL", "write http://10.0.0.1:8000"),
    ],
)
def test_what_is_not_a_replica_url_is_refused(written: object, message: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_replica_url(written)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@settings(deadline=None)
@given(st.text() | st.text(alphabet="http:/@?#[]%.0123456789abv\n ").map("http://{}".format))
def test_any_text_is_a_url_in_one_form_or_refused(text: str) -> None:
    try:
        url = parse_replica_url(text)
    except Invalid:
        return
    assert parse_replica_url(url) == url


@settings(deadline=None)
@given(st.text() | st.text(alphabet=":[]0123456789abc.%"))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except Invalid:
        return
    assert parse_address(str(address)) == address


def test_the_url_of_another_service_keeps_path_and_query() -> None:
    assert parse_endpoint_url("http://Collector:4318/v1/traces?x=1") == "http://collector:4318/v1/traces?x=1"
