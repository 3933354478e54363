"""The benchmark: what a gateway in front of vLLM costs, beside its peers, on the machine at hand.

Owns the stand-in replica and load client (C), the peers' configuration, the scenarios, the measuring and
the report. It must never import the gateway: what is measured is the installed program, started as users do.

    python -m loadtests.bench run            measure and print the table of ratios
    python -m loadtests.bench install-peers  fetch the peers that come from PyPI
    python -m loadtests.bench report         write loadtests/RESULTS.md
"""
