#!/usr/bin/env bash
# Take docs/report.png: the first screen of a run's report, in a small file.
# Needs: chromium, pngquant.
#   docs/report_picture.sh runs/demo
set -euo pipefail
page=$(mktemp -d)
trap 'rm -rf "$page"' EXIT
prag report "$1" --output "$page/report.html"
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=900,740 \
  --screenshot="$page/report.png" "file://$page/report.html" 2>/dev/null
pngquant --force --output "$(dirname "$0")/report.png" 64 "$page/report.png"
