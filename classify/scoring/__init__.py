"""What scores mean: metrics, predictions out of fold, differences between heads, outliers."""
