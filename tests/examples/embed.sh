#!/usr/bin/env bash
# embed copies files of awkward sizes, and says why it cannot copy one that is not there.
set -euo pipefail
embed=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for bytes in 0 1 65536 65537 1000003; do
  head -c "$bytes" /dev/urandom >"$folder/source"
  "$embed" "$folder/source" "$folder/copy"
  cmp "$folder/source" "$folder/copy"
done
if "$embed" "$folder/missing" "$folder/copy" 2>"$folder/error"; then exit 1; fi
grep -q "missing" "$folder/error"
