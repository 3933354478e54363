"""Launching: which vLLM servers run on which GPU, with how much memory, and how they are started.

Owns the memory model, placement, the `vllm serve` command lines and the child processes.
Must never be imported by `proxy/`: relaying works whether or not this host started the servers.
"""
