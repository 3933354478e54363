"""Counting: the scoreboard shared by all processes, and what is rendered from it.

The data plane pays integer adds and nothing else; names, labels and text are made by whoever reads.
"""
