"""The control plane: who is in the fleet, how well everybody is, and the worker processes that serve.

It watches replicas, draws the snapshot that workers route by, and keeps workers alive. It must never be
needed for a running stream: when it is gone, workers go on relaying with the last snapshot.
"""
