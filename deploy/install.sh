#!/bin/sh
# Install what serves a bundle, without TensorFlow, into a new environment: sh deploy/install.sh /opt/serve
# PYTHON=/path/to/python chooses the one that it is made with.
set -eu

target=${1:?give the folder of the new environment}
project=$(cd "$(dirname "$0")/.." && pwd)

"${PYTHON:-python3}" -m venv "$target"
pip="$target/bin/python -m pip --disable-pip-version-check"
$pip install --quiet --no-cache-dir --no-deps --require-hashes -r "$project/requirements-serve.txt"
$pip install --quiet --no-cache-dir --no-deps "$project"
$pip uninstall --quiet --yes pip setuptools # nothing is installed there later
"$target/bin/python" -m pipeline --version
