"""Placement: which instance runs on which GPUs, with how much KV cache, started in which order.

Pure: requests and devices come in as values, a `Plan` or the reasons why there is none come out. Must never
read a file, a device, a clock or the environment.
"""
