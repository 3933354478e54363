"""The domain: replicas, pools, names, health and balancing, as pure functions over immutable values.

Nothing here touches a clock, randomness, a socket, the event loop or the environment: `now` and `rng`
come in as arguments, so that every decision can be replayed in a test.
"""
