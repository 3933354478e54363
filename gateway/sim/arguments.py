"""The command line of ``python -m gateway.sim``, both ways: to `SimOptions` and from them."""

import argparse
from collections.abc import Sequence

from gateway.sim.engine import EngineLimits
from gateway.sim.faults import NO_FAULTS, Faults, changed, parse_setting
from gateway.sim.options import SimOptions


def _parser(prog: str) -> argparse.ArgumentParser:
    limits = EngineLimits()
    faults = ", ".join(Faults().as_dict())
    parser = argparse.ArgumentParser(
        prog=prog, description="A simulated vLLM replica.", epilog=f"Faults: {faults}."
    )
    add = parser.add_argument
    add("--model", required=True, help="the model's name and root; what it says depends on it")
    add("--port", type=int, default=0, help="0 (default): any free port, printed when ready")
    add("--host", default="127.0.0.1")
    add("--served-name", action="append", default=[], metavar="NAME", help="name(s) it answers to")
    add("--adapter", action="append", default=[], metavar="NAME=ROOT", help="LoRA adapter(s) loaded at start")
    add("--pooling", action="store_true", help="an embedding model: pooling routes, no generating ones")
    add("--api-key", default=None)
    add("--max-model-len", type=int, default=131_072)
    add("--max-num-seqs", type=int, default=limits.max_num_seqs, help="requests in one batch")
    add("--max-num-queued-reqs", type=int, default=0, help="503 above so many in flight; 0: no limit")
    add("--step-ms", type=float, default=limits.step_s * 1000, help="time of a decode step; 0: flat out")
    add(
        "--prefill-tok-per-s", type=float, default=limits.prefill_tokens_per_s, help="0: prompts cost no time"
    )
    add("--num-gpu-blocks", type=int, default=limits.num_gpu_blocks, help="size of the KV cache, in blocks")
    add("--block-size", type=int, default=limits.block_size, help="tokens per KV block")
    add("--priority-scheduling", action="store_true", help="lower priority values run first")
    add("--tokens-default", type=int, default=32, help="length of an answer the request does not limit")
    add("--keep-alive-s", type=float, default=5.0, help="idle time until a connection is closed")
    add("--emoji", action="store_true", help="speak with characters of several bytes, cut by the tokenizer")
    add("--request-id-headers", action="store_true", help="x-request-id on every response")
    add(
        "--fault", action="append", default=[], metavar="KEY=VALUE", help="a fault switch, set from the start"
    )
    return parser


def parse_arguments(argv: Sequence[str] | None, prog: str = "python -m gateway.sim") -> SimOptions:
    """Read a command line; prints help or one sentence and exits (2) where argparse does."""
    parser = _parser(prog)
    given = parser.parse_args(argv)
    try:
        faults = changed(NO_FAULTS, dict(parse_setting(setting) for setting in given.fault))
        adapters = tuple(_adapter(text) for text in given.adapter)
    except ValueError as error:
        parser.error(str(error))
    limits = EngineLimits(
        max_num_seqs=given.max_num_seqs,
        step_s=given.step_ms / 1000,
        prefill_tokens_per_s=given.prefill_tok_per_s,
        num_gpu_blocks=given.num_gpu_blocks,
        block_size=given.block_size,
        priority_scheduling=given.priority_scheduling,
    )
    return SimOptions(
        model=given.model,
        served_names=tuple(given.served_name),
        adapters=adapters,
        pooling=given.pooling,
        host=given.host,
        port=given.port,
        api_key=given.api_key,
        max_model_len=given.max_model_len,
        tokens_default=given.tokens_default,
        emoji=given.emoji,
        request_id_headers=given.request_id_headers,
        max_num_queued_reqs=given.max_num_queued_reqs,
        keep_alive_s=given.keep_alive_s,
        engine=limits,
        faults=faults,
    )


def _adapter(text: str) -> tuple[str, str]:
    name, equals, root = text.partition("=")
    if not name:
        raise ValueError(f"an adapter is NAME=ROOT, not {text!r}")
    return name, root if equals else name


def to_arguments(options: SimOptions) -> list[str]:
    """Write the command line that `parse_arguments` reads back to equal options.

    ``max_num_batched_tokens`` has no flag and keeps its default.
    """
    limits = options.engine
    values: dict[str, object] = {
        "--model": options.model, "--host": options.host, "--port": options.port,
        "--max-model-len": options.max_model_len, "--tokens-default": options.tokens_default,
        "--max-num-queued-reqs": options.max_num_queued_reqs, "--keep-alive-s": options.keep_alive_s,
        "--max-num-seqs": limits.max_num_seqs, "--step-ms": limits.step_s * 1000,
        "--prefill-tok-per-s": limits.prefill_tokens_per_s, "--num-gpu-blocks": limits.num_gpu_blocks,
        "--block-size": limits.block_size,
    }  # fmt: skip
    switches = {
        "--pooling": options.pooling,
        "--emoji": options.emoji,
        "--request-id-headers": options.request_id_headers,
        "--priority-scheduling": limits.priority_scheduling,
    }
    arguments = [f"{name}={value}" for name, value in values.items()]
    arguments += [name for name, on in switches.items() if on]
    arguments += [f"--served-name={name}" for name in options.served_names]
    arguments += [f"--adapter={name}={root}" for name, root in options.adapters]
    if options.api_key is not None:
        arguments.append(f"--api-key={options.api_key}")
    default = Faults().as_dict()
    arguments += [f"--fault={k}={v}" for k, v in options.faults.as_dict().items() if v != default[k]]
    return arguments
