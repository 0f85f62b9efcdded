#!/bin/bash
# Sets up, builds and runs all tests.
#   ./test.sh             everything but what is labelled long
#   ./test.sh --fuzz      also every fuzzer (ASan, UBSan) for a minute; --fuzz=outside those of what
#                         comes from other people alone: model files and requests over sockets
#   ./test.sh --long      also the long tests, unit tests under ASan and UBSan, everything with
#                         threads but the CPU backend under TSan, and every fuzzer for ten minutes;
#                         the dated summary goes to docs/verification.md
#   ./test.sh --long=PART one part of that: tests, asan, tsan or fuzz (it takes about five hours whole)
#   ./test.sh --clients   also real clients of the API from their packages: the openai package and
#                         schemathesis (skipped, visibly, without a network); --clients=quick
#                         is the openai package alone, twice
#   ./test.sh --no-setup  skip the package check (nothing is installed)
# Ends with "N passed, N failed"; fails if anything fails.
set -euo pipefail
cd "$(dirname "$0")"
. tools/setup/common.sh

long=no  # all, a part, or no
clients=no
fuzz=no
setup=yes
for argument in "$@"; do
  case "$argument" in
    --long) long=all fuzz=yes ;;
    --long=tests | --long=asan | --long=tsan) long=${argument#*=} ;;
    --long=fuzz) long=fuzz fuzz=yes ;;
    --fuzz) fuzz=yes ;;
    --fuzz=outside) [ "$fuzz" = yes ] || fuzz=outside ;;
    --clients) clients=yes ;;
    --clients=quick) clients=quick ;;
    --no-setup) setup=no ;;
    *) sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
done

part() { [ "$long" = all ] || [ "$long" = "$1" ]; }  # is this part of the long run asked for?
plain() { [ "$long" = no ] || part tests; }          # are the tests of the ordinary build?

passed=0
failed=0
skipped=0
summary=""
all_start=$(date +%s)

# Adds a JUnit file's counts; a run that wrote none counts as one failure.
count() {  # name junit-file seconds
  local line tests bad skip
  line=$(grep -m1 -A6 '<testsuite ' "$2" 2>/dev/null | tr '\n\t' '  ') || line=""
  tests=$(sed -n 's/.* tests="\([0-9]*\)".*/\1/p' <<<"$line")
  bad=$(sed -n 's/.* failures="\([0-9]*\)".*/\1/p' <<<"$line")
  skip=$(sed -n 's/.* skipped="\([0-9]*\)".*/\1/p' <<<"$line")
  if [ -z "$tests" ] || [ "$tests" -eq 0 ]; then tests=1; bad=1; skip=0; fi
  passed=$((passed + tests - bad - skip))
  failed=$((failed + bad))
  skipped=$((skipped + skip))
  summary+="| $1 | $((tests - bad - skip)) | $bad | $skip | $3 |"$'\n'
}

# A test that fails is tried once more by itself. One that then passes is not hidden: it is named as
# unsteady at the end, and more than five of them fail the run.
unsteady=0
unsteady_names=""
try_failed_again() {  # build-folder ctest-arguments...
  local folder=$1 before after name
  shift
  before=$(failed_names "$folder")
  [ -n "$before" ] || return 0
  say "once more, alone: $(wc -l <<<"$before") failed"
  cp "$folder/junit.xml" "$folder/junit-first.xml"
  ctest --test-dir "$folder" --rerun-failed --output-on-failure --output-junit junit.xml || true
  after=$(failed_names "$folder")
  mv "$folder/junit-first.xml" "$folder/junit.xml"
  while read -r name; do
    if ! grep -qxF -- "$name" <<<"$after"; then
      unsteady=$((unsteady + 1))
      unsteady_names+="  UNSTEADY: $name failed, then passed"$'\n'
      if [ $unsteady -le 5 ]; then passed=$((passed + 1)) failed=$((failed - 1)); fi
    fi
  done <<<"$before"
}
failed_names() { sed -n 's/.*<testcase name="\([^"]*\)".* status="fail".*/\1/p' "$1/junit.xml" 2>/dev/null; }

run_tests() {  # name build-folder ctest-arguments...
  local name=$1 folder=$2 start
  shift 2
  say "tests: $name"
  start=$(date +%s)
  rm -f "$folder/junit.xml"
  ctest --test-dir "$folder" -j2 --output-on-failure --output-junit junit.xml "$@" || true
  try_failed_again "$folder"
  count "$name" "$folder/junit.xml" "$(seconds_since "$start")"
}

if [ "$setup" = yes ]; then
  say "packages"
  tools/setup/install.sh --tests
fi

say "build: cpu"
cmake --preset cpu -DSEAMWRIGHT_TESTS=ON
if plain; then cmake --build build -j "$(build_jobs)"; fi

# Where nvcc is, the CUDA sources must compile, for one architecture; nothing of them needs a GPU.
if plain && nvcc=$(PATH="$PATH:/usr/local/cuda/bin" command -v nvcc); then
  say "build: CUDA sources ($nvcc)"
  cuda_start=$(date +%s)
  if ! cmake --preset cuda -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES=90; then
    say "SKIPPED: CUDA sources (see the message above)"
    skipped=$((skipped + 1))
  elif cmake --build build-cuda --target sw_model_cuda sw_comm_cuda -j "$(build_jobs)"; then
    passed=$((passed + 1))
    summary+="| CUDA sources compile | 1 | 0 | 0 | $(seconds_since "$cuda_start") |"$'\n'
  else
    failed=$((failed + 1))
    summary+="| CUDA sources compile | 0 | 1 | 0 | $(seconds_since "$cuda_start") |"$'\n'
  fi
fi

# A second build of everything: seventeen minutes on two cores.
if part asan; then
  say "build: unit tests with ASan and UBSan"
  cmake --preset asan
  cmake --build build-asan --target unit_tests -j "$(build_jobs)"
fi

# ThreadSanitizer does not understand OpenMP, so whatever computes does so on the reference backend.
tsan_tests='^(Loopback|Nccl|ControlLink|Signal|LivenessClock|MailEnvelope|FolderStore|GangLink'
tsan_tests+='|GangMail|CostMeasurement.OnTheReference|AttemptReports|RemoteStore|ProgressWatch|Pulse|RankEngine|RecordKeeper|DatumPool'
tsan_tests+='|Every/Loss|Reference/|Http|Full|JobStore|RecordStore|RecordedSdk|Service|Joining|Supervisor'
tsan_tests+='|GivenSources|WorkThread)'
if part tsan; then
  say "build: what has threads, with TSan"
  cmake --preset tsan
  cmake --build build-tsan --target test_comm test_worker test_coordinator -j "$(build_jobs)"
fi

if [ "$long" = no ]; then run_tests "all" build -LE long; fi
if part tests; then run_tests "all, long ones too" build; fi
if part asan; then run_tests "unit, ASan and UBSan" build-asan -L unit -LE 'long|no_asan'; fi
if part tsan; then run_tests "threads, TSan" build-tsan -R "$tsan_tests"; fi

fuzz_seconds=60
[ "$long" = no ] || fuzz_seconds=600

if [ "$fuzz" != no ]; then
  say "fuzzing"
  fuzz_start=$(date +%s)
  fuzz_log=build-fuzz/summary.log
  mkdir -p build-fuzz
  fuzz_names=()
  [ "$fuzz" = yes ] || fuzz_names=(safetensors config tokenizer http multipart control)
  tests/fuzz/run.sh "$fuzz_seconds" "${fuzz_names[@]}" 2>&1 | tee "$fuzz_log" || true
  fuzz_passed=$(grep -c '^fuzz .*: no finding' "$fuzz_log" || true)
  fuzz_skipped=$(grep -c '^fuzz .*: SKIPPED' "$fuzz_log" || true)
  fuzz_total=${#fuzz_names[@]}
  [ "$fuzz_total" -gt 0 ] || fuzz_total=$(ls tests/fuzz/*_fuzzer.cpp | wc -l)
  fuzz_failed=$((fuzz_total - fuzz_passed - fuzz_skipped))
  passed=$((passed + fuzz_passed))
  failed=$((failed + fuzz_failed))
  skipped=$((skipped + fuzz_skipped))
  summary+="| fuzzers, $fuzz_seconds s each | $fuzz_passed | $fuzz_failed | $fuzz_skipped | $(seconds_since "$fuzz_start") |"$'\n'
fi

# Lives of a job through the openai package and examples an operation of schemathesis.
if [ "$clients" != no ]; then
  say "clients"
  clients_start=$(date +%s)
  clients_log=build/clients.log
  clients_counts=(100 20)
  [ "$clients" = yes ] || clients_counts=(0 2)
  tests/clients/run.sh build "${clients_counts[@]}" 2>&1 | tee "$clients_log" || true
  clients_passed=$(grep -c '^clients .*: passed' "$clients_log" || true)
  clients_skipped=$(grep -c '^clients .*: SKIPPED' "$clients_log" || true)
  clients_failed=$((6 - clients_passed - clients_skipped))
  passed=$((passed + clients_passed))
  failed=$((failed + clients_failed))
  skipped=$((skipped + clients_skipped))
  summary+="| clients | $clients_passed | $clients_failed | $clients_skipped | $(seconds_since "$clients_start") |"$'\n'
fi

if [ "$long" != no ]; then
  tools/setup/record_verification.sh "--long=$long" "$summary" "$passed" "$failed" "$skipped" "$(seconds_since "$all_start")"
fi
say "finished in $(seconds_since "$all_start") s${skipped:+, $skipped skipped}"
printf '%s' "$unsteady_names"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
