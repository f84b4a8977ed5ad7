"""The command line, as `python -m bottleneck_features` and as `python -m pipeline`."""

from bottleneck_features.commands.early import main

main()
