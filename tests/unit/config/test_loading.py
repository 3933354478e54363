"""Files, texts and URLs become a configuration, or one error with everything."""

import os
from pathlib import Path

import pytest

from gateway.config import Address, ConfigError, Replica, from_urls, load, parse

from .samples import EXAMPLE, problems_in


def test_the_example_everybody_starts_from_loads() -> None:
    config = parse(EXAMPLE, "g")
    model = config.models["qwen3-8b"]
    assert config.listen == Address("127.0.0.1", 8000)
    assert config.replicas == (Replica(url="http://10.0.0.9:8000"),)
    assert model.replicas[1] == Replica(url="http://10.0.0.2:8000", weight=2, api_key_env="QWEN_KEY")
    assert model.aliases == ("gpt-4o-mini",)
    assert model.limits.queue_timeout == 30.0
    assert model.timeouts.first_byte == 600.0


def test_a_launch_section_loads() -> None:
    text = """
    gpus: [{name: H100, memory: 79.19GiB}]
    vllm_command: docker run vllm
    models:
      qwen3-32b:
        launch:
          model: /models/Qwen3-32B
          replicas: 1
          tensor_parallel: auto
          max_model_len: 32K
          concurrency: 16
          max_num_seqs: 64
          kv_cache_dtype: auto
          enforce_eager: false
          adapters: {sql: /adapters/sql}
          max_loras: 2
          args: [--enable-prefix-caching, --seed, 7]
          env: {OMP_NUM_THREADS: 4}
          start_timeout: 10m
    """
    config = parse(text, "g")
    launch = config.models["qwen3-32b"].launch
    assert launch is not None
    assert config.vllm_command == ("docker", "run", "vllm")
    assert config.gpus is not None
    assert config.gpus[0].memory == 85_029_615_043
    assert launch.max_model_len == 32_768
    assert launch.args == ("--enable-prefix-caching", "--seed", "7")
    assert launch.env == {"OMP_NUM_THREADS": "4"}
    assert launch.start_timeout == 600.0


def test_a_bare_off_is_understood_wherever_off_is_a_value() -> None:
    text = """
    replicas: [http://a]
    access_log: off
    defaults: {resume: off, timeouts: {total: off}}
    ejection: {hang: off}
    """
    config = parse(text, "g")
    assert config.access_log is False
    assert config.defaults.resume == "off"
    assert config.defaults.timeouts.total is None
    assert config.ejection.hang is None


def test_a_header_name_is_compared_in_lower_case() -> None:
    config = parse("replicas: [http://a]\ndefaults: {priority_header: X-Priority}", "g")
    assert config.defaults.priority_header == "x-priority"


def test_a_section_with_nothing_below_it_means_the_defaults() -> None:
    text = "replicas: [http://a]\nlimits:\nhealth:\nmodels:\ngpus:\ndefaults:\n  timeouts:\n"
    assert parse(text, "g") == parse("replicas: [http://a]", "g")


def test_all_errors_are_reported_at_once() -> None:
    text = "listen: x\nreplicas: [http://a, http://a]\nmodels:\n  a: {resume: maybe}\n  a: {}\nworker: 2\n"
    assert [message.split(" ")[:2] for message in problems_in(text).splitlines()] == [
        ["g:1:", "listen:"],
        ["g:2:", "replicas[1]:"],
        ["g:4:", "models.a.resume:"],
        ["g:4:", "models.a:"],
        ["g:5:", "models.a:"],
        ["g:6:", "worker:"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "g: is empty (list servers under 'replicas' or 'models')"),
        ("# only a comment\n", "g: is empty (list servers under 'replicas' or 'models')"),
        ("- a\n- b", "g:1: must be a section with keys such as replicas and models, not a list"),
        ("http://a", "g:1: must be a section with keys such as replicas and models, not 'http://a'"),
        ("!!set {a}", "g:1: the tag 'tag:yaml.org,2002:set' is not supported (remove it)"),
    ],
)
def test_a_file_without_a_section_is_refused(text: str, message: str) -> None:
    assert problems_in(text) == message


# -- files --


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: there is no such file"


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder, not a file"


def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # file modes don't bind root
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "g")
    assert str(caught.value) == f"{tmp_path / 'g'}: can't be read: permission denied"


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "g"
    path.write_bytes("listen: :8000\n# Müller\n".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:2: is not UTF-8 text (save it as UTF-8)"


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "g"
    path.write_text("replicas: [http://a]", encoding="utf-8-sig")
    assert load(path).replicas[0].url == "http://a:80"


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "g"
    files = "admin_token_file: token\nclient_keys_file: keys\naccess_log: logs/access.jsonl\n"
    path.write_text(f"replicas: [http://a]\n{files}")
    config = load(path)
    assert config.launch_dir == tmp_path / ".vllm-gateway"
    assert config.admin_token_file == tmp_path / "token"
    assert config.client_keys_file == tmp_path / "keys"
    assert config.access_log == tmp_path / "logs/access.jsonl"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    path = tmp_path / "g"
    path.write_text("replicas: [http://a]\nlaunch_dir: /var/lib/g\naccess_log: yes\n")
    config = load(path)
    assert config.launch_dir == Path("/var/lib/g")
    assert config.access_log is True


# -- overrides and URLs --


def test_an_override_replaces_the_option_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "g"
    path.write_text("replicas: [http://a]\nlisten: nowhere\nworkers: 2\n")
    config = load(path, {"listen": "127.0.0.1:0", "workers": None})
    assert config.listen == Address("127.0.0.1", 0)
    assert config.workers == 2


def test_a_wrong_override_does_not_blame_a_line_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("listen: :8000\nreplicas: [http://a]", "g", {"listen": "x"})
    assert caught.value.problems[0].line is None


def test_urls_alone_are_a_configuration() -> None:
    config = from_urls(["http://a:8000", "http://b:8000"], listen=":0", workers=1, admin=None)
    assert [replica.url for replica in config.replicas] == ["http://a:8000", "http://b:8000"]
    assert config.listen == Address("", 0)
    assert config.workers == 1
    assert config.admin == Address("127.0.0.1", 9090)


def test_wrong_urls_are_all_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        from_urls(["a:8000", "http://b", "http://b/"], log_level="loud")
    assert str(caught.value).splitlines() == [
        "command line: replicas[0].url: 'a:8000' is not an http or https URL (write http://a:8000)",
        "command line: log_level: 'loud' is not one of 'debug', 'info', 'warning' or 'error'",
        "command line: replicas[2]: 'http://b:80' is already listed: see replicas[1] (list each server once)",
    ]


def test_no_url_is_nothing_to_serve() -> None:
    with pytest.raises(ConfigError, match="there is nothing to serve"):
        from_urls([])


@pytest.mark.parametrize(
    ("switch", "meaning"),
    [
        ("on", True),
        ("off", False),
        (True, True),
        (Path("a.jsonl"), Path("a.jsonl")),
        ("a.jsonl", Path("a.jsonl")),
    ],
)
def test_the_access_log_of_a_command_line_is_a_switch_or_a_file(switch: object, meaning: object) -> None:
    assert from_urls(["http://a"], access_log=switch).access_log == meaning
