#!/usr/bin/env bash
# Builds the site and tests it in a browser. Installs what is missing; where it cannot install a browser, the tests that
# need one are skipped.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

../scripts/setup-linux.sh --only '
nodejs  node  builds and serves the site
npm     npm   brings what the site is built with
'
../scripts/setup-linux.sh --only '
chromium  /usr/bin/chromium|/usr/bin/google-chrome  opens every page of the site
' || true
[[ node_modules -nt package-lock.json ]] || { npm ci --silent && touch node_modules; }
npm run --silent build
exec npm test --silent
