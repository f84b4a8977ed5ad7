"""What every runtime of an export is given and gives."""

from collections.abc import Callable, Mapping

from classify.heads.numerics import Floats

Answer = dict[str, Floats]  # "probabilities" (n, k) and, where the model can reject, "distance" (n,)
Pixels = Mapping[str, Floats]  # of each input, by its name: (n, height, width, 3) float32, RGB 0..255
Runner = Callable[[Pixels], Answer]
