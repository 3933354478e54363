"""A gateway of several workers, its replicas dying in every way they know, and a ledger of every request.

    python -m tests.chaos                                  # 10,000 requests, 500 faults: make chaos
    python -m tests.chaos --requests 500 --faults 30       # a short one
    python -m tests.chaos --seed 7                         # another order of events

Prints one table and exits 1 if something is wrong: a request without an account, a wrong byte, a count that
differs from the gateway's own, a process or a descriptor that is left over.
"""
