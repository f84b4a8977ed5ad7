"""Fine-tuning from cached maps: the layers of the backbone above a cut, and a linear head."""
