"""Reading a Hugging Face config.json into the memory model's own vocabulary.

Owns everything that is spelled differently between families. Must never count bytes.
"""

from gateway.launch.memory.reading.reader import read_model

__all__ = ["read_model"]
