#!/bin/sh
# Rebuild parquet.js and LICENSES.txt from the versions that package-lock.json pins.
# Needs node and npm. Everything happens in a temporary folder; only the two files change.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$here/entry.js" "$work/"
cd "$work"
npm ci --silent
npx --no-install esbuild entry.js --bundle --format=esm --minify --charset=utf8 \
  --target=es2022 --legal-comments=none \
  --banner:js='/* hyparquet 1.31.5, fzstd 0.1.1: MIT, see LICENSES.txt */' \
  --outfile="$here/parquet.js"
: > "$here/LICENSES.txt"
for package in hyparquet fzstd; do
  version=$(node -p "require('./node_modules/$package/package.json').version")
  printf '%s %s\n\n' "$package" "$version" >> "$here/LICENSES.txt"
  cat "node_modules/$package"/LICENSE* >> "$here/LICENSES.txt"
  printf '\n\n' >> "$here/LICENSES.txt"
done
