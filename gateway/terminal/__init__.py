"""What people see and type: screens, the demo, sentences for what went wrong.

Used by `cli.py`, which holds the commands' names and options. Must never know anything that a program could
not learn from the configuration or the admin API.
"""
