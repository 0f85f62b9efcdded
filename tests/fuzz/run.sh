#!/bin/bash
# Builds the fuzzers named (all of them if none is) and runs each for one minute (or SECONDS), two at
# a time, from the seeds in tests/fuzz/seeds. Prints one line each; fails on any finding and says
# how to replay it.
#   tests/fuzz/run.sh [SECONDS [NAME...]]
set -euo pipefail
cd "$(dirname "$0")/../.."
. tools/setup/common.sh
seconds=${1:-60}
names=("${@:2}")
[ ${#names[@]} -gt 0 ] ||
  mapfile -t names < <(basename -a tests/fuzz/*_fuzzer.cpp | sed 's/_fuzzer.cpp//')

if ! command -v clang++-16 >/dev/null; then
  printf 'fuzz %s: SKIPPED, clang++-16 is not installed\n' "${names[@]}"
  exit 0
fi

cmake --preset fuzz >build-fuzz.log 2>&1 || { cat build-fuzz.log >&2; exit 1; }
rm -f build-fuzz.log
cmake --build build-fuzz --target "${names[@]/%/_fuzzer}" -j "$(build_jobs)"

mkdir -p build-fuzz/findings build-fuzz/logs
one() {
  name=$1
  corpus=build-fuzz/corpus/$name
  mkdir -p "$corpus" "tests/fuzz/seeds/$name"
  if "build-fuzz/${name}_fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
      -max_len=65536 -artifact_prefix="build-fuzz/findings/$name-" -print_final_stats=1 \
      "$corpus" "tests/fuzz/seeds/$name" >"build-fuzz/logs/$name.log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "build-fuzz/logs/$name.log")
    echo "fuzz $name: no finding in $runs runs"
  else
    echo "fuzz $name: FINDING; replay: build-fuzz/${name}_fuzzer build-fuzz/findings/$name-*"
    tail -n 30 "build-fuzz/logs/$name.log"
    return 1
  fi
}
export -f one
export seconds
# xargs ends with a failure status if any run does
printf '%s\n' "${names[@]}" | xargs -P 2 -I{} bash -c 'one {}'
