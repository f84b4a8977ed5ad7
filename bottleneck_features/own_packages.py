"""Importing this raises ImportError where Python finds a file of the user's under the name of one of our packages."""

import os
from importlib.util import find_spec

OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

for _file in ("cache/__init__.py", "classify/__init__.py", "featurize/__init__.py", "pipeline.py"):
    _name = _file.removesuffix(".py").removesuffix("/__init__")
    _found = find_spec(_name)
    if _found and _found.origin and not os.path.samefile(_found.origin, os.path.join(OURS, _file)):
        raise ImportError(
            f"{_name!r} is not that of bottleneck-features but {_found.origin}: rename that file, or move it"
        )
