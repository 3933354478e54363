"""The one error of the bench: a sentence for the person at the terminal."""


class BenchError(Exception):
    """Something the person running the bench has to know or do; its text is the whole message."""
