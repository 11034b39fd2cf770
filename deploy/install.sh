#!/bin/sh
# The one way in which geotiler is installed with the tested versions, here and in the image:
#   deploy/install.sh VENV EXTRA [--editable]
set -eu
cd "$(dirname "$0")/.."
venv=$1
extra=$2
editable=${3:-}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "geotiler needs Python 3.11 or newer; try: make PYTHON=python3.12 install" >&2
  exit 1
}
[ -d "$venv" ] || "$python" -m venv "$venv"
bin=$venv/bin
[ -d "$bin" ] || bin=$venv/Scripts # Windows
# What builds is pinned, too: hatchling geotiler, setuptools the one dependency that has no wheel
# (antlr4-python3-runtime, of Hydra).
"$bin/python" -m pip install --quiet -c constraints.txt hatchling setuptools
# shellcheck disable=SC2086 # nothing, or one word
"$bin/python" -m pip install --quiet -c constraints.txt --no-build-isolation $editable ".[$extra]"
