#!/usr/bin/env bash
# Gives you a stage to write again: start.sh 03 makes mine/03-recv/, with a TODO in place of each body that teaches. The
# environment variable MINE names another folder than mine/; check.sh knows it too.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

command -v cmake >/dev/null || scripts/setup-linux.sh
exec cmake -D "STAGE=${1:-}" -D "MINE=${MINE:-mine}" -P cmake/start.cmake
