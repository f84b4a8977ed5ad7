"""What the processor computes fast."""

from functools import cache
from pathlib import Path


@cache
def has_bf16_matrices(described: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether it multiplies matrices in bfloat16 (AMX). Linux says so; elsewhere the answer is no.

    AVX-512 alone has bfloat16 too, but is no faster with it than in float32 (TensorFlow 2.21, oneDNN).
    """
    try:
        lines = described.read_text().splitlines()
    except OSError:  # not Linux
        return False
    return any(line.startswith("flags") and "amx_bf16" in line.split() for line in lines)
