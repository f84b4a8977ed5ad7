"""How linear heads are fitted: whitened features, one descent, one path over the regularisation."""
