#!/usr/bin/env bash
# What a GPU says, in under eight minutes on one card of 80 GB: tests/gpu/measure.py says what.
#
#   tests/gpu/run.sh [--out FILE] [--minutes 8] [--tiny]
#
# Needs the repository, a Python with a CUDA build of torch (PYTHON, else python3) and, for what that
# Python lacks, a folder of wheels (WHEELS, else ./wheels). Nothing is downloaded; weights are random.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
wheels=${WHEELS:-wheels}
if [ -d "$wheels" ]; then
  env=$(mktemp -d)/env
  "$python" -m venv --system-site-packages "$env"
  # the wheels beside what is installed: torch stays the one that knows the card
  "$env/bin/python" -m pip install --quiet --no-index --no-deps "$wheels"/*.whl
  python=$env/bin/python
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=$PWD:$PWD/tests
exec "$python" tests/gpu/measure.py "$@"
