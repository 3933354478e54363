"""What an LLM client does, without Locust: its settings, its prompts, and reading a token stream.

It must never import locust, which patches the standard library on import; so tests can import this.
"""
