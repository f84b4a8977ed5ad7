"""What fine-tuning starts from: the logistic regression that a search finds, on real features."""

import numpy as np
import pytest
from real_features import textures

from classify.linear import LogRegHead
from classify.linear_start import C_OF_FEW, best_C, linear_start
from classify.train import search_head


