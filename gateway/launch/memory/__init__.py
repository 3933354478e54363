"""The memory model: what a vLLM server will take from a GPU, computed from files alone.

Pure: configurations and safetensors headers come in as plain data, byte counts go out.
Must never read a file, a clock, an environment variable or a device.
"""
