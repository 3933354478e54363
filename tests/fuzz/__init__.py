"""Odd input for what reads the outside world: streams to resume, request bodies, configuration files.

    python -m tests.fuzz                  # 10 minutes: make fuzz
    python -m tests.fuzz --minutes 60 --only resume

Hypothesis keeps what it found in `.hypothesis`, so that a failure comes up again at once.
"""
