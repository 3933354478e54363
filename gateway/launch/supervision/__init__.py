"""Starting vLLM servers and keeping them alive: one after the other, each in a session that can't outlive us.

Owns the servers' processes, ports and logs. Must never know who routes to them: what happens is told as
values (`events`) to whoever listens.
"""
