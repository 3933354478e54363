"""Connections to replicas: the hot path, and the only place that goes below a client library.

A response costs one `asyncio.Protocol` callback and one `httptools` parse for each read, and no task or
future of its own (`aiohttp.ClientSession` measured three times the CPU per request).
"""
