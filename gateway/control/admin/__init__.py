"""The admin listener: metrics, status, drain and reload, for operators and their programs.

Owns who may come in and how answers look. Must never hold fleet state: it reads the control plane through
`source.Source` and asks it to act.
"""
