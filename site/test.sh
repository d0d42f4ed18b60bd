#!/usr/bin/env bash
# Builds the site and tests it in a browser. Installs what is missing, a browser too; without one, the tests that need it
# are skipped.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

../scripts/setup-linux.sh --only '
nodejs    node                                         builds and serves the site
npm       npm                                          brings what the site is built with
chromium  /usr/bin/chromium|/usr/bin/chromium-browser  opens every page of the site
'
[[ node_modules -nt package-lock.json ]] || { npm ci --silent && touch node_modules; }
npm run --silent build
exec npm test --silent
