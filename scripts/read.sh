#!/usr/bin/env bash
# Builds the notes as a site, with the code beside the text, and serves it on 127.0.0.1: read.sh [port]. Ctrl+C ends it.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../site"

../scripts/setup-linux.sh --only '
nodejs  node|nodejs  builds and serves the site
npm     npm          brings what the site is built with
'
[[ node_modules -nt package-lock.json ]] || { npm ci --silent && touch node_modules; }
npm run --silent build
exec node serve.js "$@"
