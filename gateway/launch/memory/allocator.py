"""What PyTorch's caching allocator counts for a tensor.

Source: c10/cuda/CUDACachingAllocator: requests over 10 MiB get a segment rounded to 2 MiB, and a rest of at
most 1 MiB is not split off, so it belongs to the tensor. This explains Qwen2-7B's 57 MiB over the sum of
its tensors.
"""

from gateway.launch.memory.terms import MIB, round_up

_LARGE = 10 * MIB
_SEGMENT = 2 * MIB
_UNSPLIT = MIB
_GRAIN = 512


def allocated_bytes(size: int) -> int:
    """Bytes that `torch.cuda.memory_allocated` counts for a tensor of `size` bytes."""
    size = round_up(size, _GRAIN)
    if size <= _LARGE:
        return size
    segment = round_up(size, _SEGMENT)
    return segment if segment - size <= _UNSPLIT else size
