#!/bin/bash
# Real clients of the API, from their packages (pinned in requirements.txt), in a virtual environment
# under the build folder: the `openai` package through the life of a job, also while the worker is
# killed again and again, and schemathesis against /openapi.json with all checks, over a service in
# memory and over the real one. Prints one line each: "clients NAME: passed", "FAILED" or "SKIPPED"
# (no network, or a slow one; no venv). Fails if any failed. Ends by itself: what hangs is ended after
# a quarter of an hour and has failed.
#   tests/clients/run.sh [BUILD_FOLDER] [EXAMPLES_PER_OPERATION] [ROUNDS]
# With 0 examples the openai package alone, losing a worker every fifteen seconds instead of five.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build}
examples=${2:-100}
rounds=${3:-20}
work=$build/clients
venv=$work/venv
mkdir -p "$work"

skip() {
  for name in openai openai-service openai-kills schemathesis schemathesis-key \
    schemathesis-service; do
    echo "clients $name: SKIPPED, $1"
  done
  exit 0
}
hang_limit=900
python3 -c 'import ensurepip' 2>/dev/null || skip "python3-venv is not installed"
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || skip "no virtual environment"
timeout -k 5 120 "$venv/bin/pip" -q install --disable-pip-version-check --retries 1 --timeout 10 \
  -r tests/clients/requirements.txt >"$work/pip.log" 2>&1 </dev/null ||
  skip "the packages cannot be fetched within two minutes ($work/pip.log)"

# A real video of two seconds, so that what clients download is one.
video=$work/video.mp4
ffmpeg -v error -y -f lavfi -i testsrc=size=64x48:rate=8:duration=2 -pix_fmt yuv420p "$video"

failed=0
SECONDS=0
report() {  # name status log
  if [ "$2" -eq 0 ]; then
    echo "clients $1: passed ($SECONDS s)"
  else
    echo "clients $1: FAILED, the end of $3:"
    tail -n 60 "$3" | cut -c 1-400
    failed=1
  fi
  SECONDS=0
}

# Starts a server whose address is its first line of output; it ends with its standard input.
server_pid=""
start() {  # log command...
  local log=$1 i
  shift
  rm -f "$work/stdin" "$work/address"
  mkfifo "$work/stdin"
  "$@" <"$work/stdin" >"$work/address" 2>"$log" &
  server_pid=$!
  exec 7>"$work/stdin"
  for i in $(seq 1200); do
    [ -s "$work/address" ] && break
    sleep 0.1
  done
  url=$(head -n 1 "$work/address")
}
stop() {
  [ -n "$server_pid" ] || return 0
  exec 7>&-
  kill -TERM "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=""  # another process may have the number by now
}
helper=""  # runs beside a server
end_helper() {
  [ -n "$helper" ] || return 0
  # Ended at once it may not be its program yet but still a shell, which may drop others.
  kill -KILL "$helper" 2>/dev/null || true
  wait "$helper" 2>/dev/null || true
  helper=""
}
trap 'end_helper; stop' EXIT

status=0
start "$work/fake.log" "$build/http_fake_server" "$video" 300
timeout -k 5 $hang_limit "$venv/bin/python" tests/clients/openai_client.py "$url" 3 \
  >"$work/openai.log" 2>&1 || status=$?
stop
report openai "$status" "$work/openai.log"

schema() {  # name arguments...
  local name=$1 status=0
  shift
  if [ "$examples" -eq 0 ]; then
    echo "clients $name: SKIPPED, only in the full run"
    return 0
  fi
  SCHEMATHESIS_HOOKS=tests.clients.schemathesis_hooks PYTHONPATH=. CLIENTS_VIDEO=$video \
    timeout -k 5 $hang_limit "$venv/bin/schemathesis" run "$url/openapi.json" --checks all \
    --max-examples "$examples" --no-color --request-timeout 60 --suppress-health-check all \
    --seed 1 "$@" >"$work/$name.log" 2>&1 || status=$?
  sed -n 's/^ *\([0-9]* generated.*\)/clients '"$name"': \1/p' "$work/$name.log"
  report "$name" "$status" "$work/$name.log"
}
start "$work/fake.log" "$build/http_fake_server" "$video" 100
schema schemathesis
stop
key=client-key-0123456789
start "$work/fake.log" "$build/http_fake_server" "$video" 100 "$key"
schema schemathesis-key --header "Authorization: Bearer $key"
stop

# The real service. No gang: what random requests ask for would keep it busy for days.
service() {  # log arguments...
  local log=$1
  shift
  data=$(mktemp -d "$work/data-XXXX")
  start "$log" "$build/seamwright" serve --port 0 --data "$data" --threads 1 "$@"
}
service "$work/schema-service.log" --no-local-gang --queue-limit 1000000
"$venv/bin/python" tests/clients/cancel_jobs.py "$url" >"$work/cancel.log" 2>&1 &
helper=$!
# Without a gang it is not ready, and says so: 503. What fits the schema may still be too much for the
# model (its windows) or for the file that comes along (its frames), which no schema knows.
schema schemathesis-service --exclude-path /readyz --exclude-checks positive_data_acceptance
end_helper
stop
rm -rf "$data"

openai_rounds() {  # name rounds
  local status=0
  timeout -k 5 $((hang_limit + 60 * $2)) "$venv/bin/python" tests/clients/openai_client.py \
    "$url" "$2" >"$work/$1.log" 2>&1 || status=$?
  report "$1" "$status" "$work/$1.log"
}
service "$work/service.log"
openai_rounds openai-service "$rounds"
stop
rm -rf "$data"

# Losses without progress are what is tried here: they must not make a job a poisonous one.
service "$work/service-kills.log" --losses-max 1000
"$venv/bin/python" tests/clients/kill_workers.py "$url" $((examples > 0 ? 5 : 15)) >"$work/kills.log" 2>&1 &
helper=$!
openai_rounds openai-kills "$rounds"
end_helper
stop
tail -n 1 "$work/kills.log"
rm -rf "$data"
trap - EXIT
exit "$failed"
