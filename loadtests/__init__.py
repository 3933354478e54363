"""Load tests: the benchmark (bench/), Locust users (locustfile.py) and the soak (soak.py).

They drive the gateway from outside, as users do, and import nothing of it.
"""
