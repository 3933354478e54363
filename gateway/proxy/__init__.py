"""The data plane: a client's request in, a replica's answer out.

It routes by the snapshot it was given and the scoreboard it shares; it does not know how replicas were
found or started, and it goes on relaying when the control plane is gone.
"""
