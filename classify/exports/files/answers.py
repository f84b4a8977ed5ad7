"""What every runtime of an export is given and gives."""

from collections.abc import Callable

from classify.heads.numerics import Floats

Answer = dict[str, Floats]  # "probabilities" (n, k) and, where the model can reject, "distance" (n,)
Runner = Callable[[Floats], Answer]  # of pixels (n, height, width, 3) float32, RGB 0..255
