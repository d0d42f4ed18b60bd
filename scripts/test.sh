#!/usr/bin/env bash
# Builds everything and runs the tests under Wine: test.sh [ctest arguments], for example test.sh -L stage-03.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

scripts/setup-linux.sh
scripts/build-linux.sh
cmake/run-under-wine.sh
exec ctest --preset linux-wine "$@"
