#!/bin/bash
# Adds a dated entry to docs/verification.md, newest first; called by ./test.sh --long.
#   record_verification.sh WHAT ROWS PASSED FAILED SKIPPED SECONDS
set -euo pipefail
cd "$(dirname "$0")/../.."
what=${1/%=all/} rows=$2 passed=$3 failed=$4 skipped=$5 seconds=$6
file=docs/verification.md
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo "unknown (no git checkout)")
if [ -n "$(git status --porcelain --untracked-files=no 2>/dev/null)" ]; then
  commit="$commit with local changes"
fi
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
memory=$(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo)
system=$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)
entry=$(mktemp)
cat >"$entry" <<END

## $(date -u +%Y-%m-%d\ %H:%M) UTC: $passed passed, $failed failed, $skipped skipped

Commit $commit; $(nproc) cores ($cpu), $memory, $system, $(g++ --version | head -1);
\`./test.sh $what\`, $seconds s in all.

| run | passed | failed | skipped | seconds |
|---|---|---|---|---|
${rows%$'\n'}
END
if [ ! -f "$file" ]; then
  printf '# Verification log\n\nWritten by `./test.sh --long`, newest first.\n' >"$file"
fi
{
  sed '/^## /,$d' "$file" | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
  cat "$entry"
  if grep -q '^## ' "$file"; then
    echo
    sed -n '/^## /,$p' "$file"
  fi
} >"$file.new"
mv "$file.new" "$file"
rm -f "$entry"
echo "recorded in $file"
