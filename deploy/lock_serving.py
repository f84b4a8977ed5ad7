"""Write requirements-serve.txt: what predicting and serving need, every version with its hashes, without TensorFlow.

The packages below in the versions that setup.cfg allows, and what they need in turn, for Python 3.11 to 3.13 on Linux,
macOS and Windows. Needs uv: `make lock`.
"""

import configparser
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LOCK = REPOSITORY / "requirements-serve.txt"

# Of [options] install_requires. h5py and isal read cached rows, which a serving machine may have as well.
NEEDED = ("numpy", "openvino", "pillow", "pi-heif", "cykooz.resizer", "h5py", "isal", "psutil", "click", "rich")
EXTRA = "web"
FURTHER = ("scipy",)  # what `--accept` takes: a dependency of scikit-learn's, which setup.cfg therefore does not name
# OpenVINO asks for it, and runs without it: see featurize/engines/silent_openvino.py.
LEFT_OUT = "openvino-telemetry"

HEADER = """\
# What predicting and serving need on a machine without TensorFlow; written by `make lock`. To install:
#   pip install --no-deps --require-hashes -r requirements-serve.txt
#   pip install --no-deps .
"""


def requirements() -> list[str]:
    """The lines of setup.cfg that name the packages above, and those of the extra."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"].splitlines()
    kept = [line for line in lines if name_of(line) in NEEDED]
    return [*kept, *FURTHER, *(line for line in setup["options.extras_require"][EXTRA].splitlines() if line)]


def name_of(requirement: str) -> str:
    """The package that a requirement is about."""
    return re.split(r"[ <>=!~;]", requirement.strip(), maxsplit=1)[0]


def main() -> None:
    """Lock them with uv."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-emit-package", LEFT_OUT, "-"]
    done = subprocess.run(command, input="\n".join(requirements()).encode(), stdout=subprocess.PIPE, check=True)
    lines = [line for line in done.stdout.decode().splitlines() if not line.startswith("# The following")]
    lines = [line for line in lines if line != f"# {LEFT_OUT}"]
    LOCK.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
