#!/bin/bash
# From a bare Debian 12 to a long video through the service: installs packages, builds the program,
# starts `seamwright serve` with a gang of two worker processes, submits a job through the API, then the
# same job again and kills a worker in the middle of it: the service goes on from its checkpoints and
# arrives at the same video, bit for bit. Uses the few-step demo checkpoint (models/demo/few_step).
#   ./quickstart.sh ["a prompt"]      the service goes on until Ctrl-C
#   ./quickstart.sh --stop [...]      stop the service at the end (so does a run without a terminal)
set -euo pipefail
cd "$(dirname "$0")"
. tools/setup/common.sh

stop=no
if [ "${1:-}" = --stop ]; then stop=yes; shift; fi
[ -t 0 ] || stop=yes
prompt=${1:-"a red circle moving in circles over green hills at night"}
out=out/quickstart.mp4
sheet=out/quickstart.png
start=$(date +%s)

if [ ! -d models/demo ]; then
  echo "models/demo is missing: this is not a complete copy of the project" >&2
  exit 1
fi

say "1 of 5: packages (root or sudo; only what is missing)"
tools/setup/install.sh

say "2 of 5: build of build/seamwright with $(build_jobs) jobs (a few minutes the first time)"
cmake --preset cpu -DSEAMWRIGHT_TESTS=OFF >build-configure.log 2>&1 || {
  cat build-configure.log >&2
  exit 1
}
rm -f build-configure.log
cmake --build build --target seamwright -j "$(build_jobs)"
built=$(seconds_since "$start")

say "3 of 5: the service, with a gang of two worker processes"
mkdir -p out/service
rm -f out/service/address
build/seamwright serve --port 0 --data out/service/data --window-parallel-size 2 --threads 1 \
  >out/service/address 2>out/service/log &
service=$!
end_service() { kill -TERM "$service" 2>/dev/null && wait "$service" || true; }
trap end_service EXIT
for _ in $(seq 100); do
  [ -s out/service/address ] && break
  kill -0 "$service" 2>/dev/null || { cat out/service/log >&2; exit 1; }
  sleep 0.1
done
SEAMWRIGHT_SERVER=$(head -n 1 out/service/address)
export SEAMWRIGHT_SERVER
for _ in $(seq 300); do
  curl -fs "$SEAMWRIGHT_SERVER/readyz" >/dev/null && break
  sleep 0.2
done
curl -fs "$SEAMWRIGHT_SERVER/readyz" >/dev/null || { cat out/service/log >&2; exit 1; }
echo "dashboard: $SEAMWRIGHT_SERVER/   (open it now and watch)"

# A field of the JSON that the program prints.
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
# FreeNoise mostly keeps the background where it is (docs/quality.md).
request=(--model demo/few_step --prompt "$prompt" --frames 144 --seed 1 --noise freenoise)

say "4 of 5: a video from the prompt: $prompt"
generation=$(date +%s)
video=$(build/seamwright submit "${request[@]}" --wait --out "$out" --json | tee out/service/first.json)
made=$(seconds_since "$generation")
hash=$(field latents_sha256 <<<"$video")
printf 'first frames after %.1f s, %.1f frames a second, hash %s\n' \
  "$(field first_frame_seconds <<<"$video")" "$(field frames_per_second <<<"$video")" "$hash"
build/seamwright sheet "$out" --out "$sheet"

say "5 of 5: the same again, and a worker killed in the middle"
id=$(build/seamwright submit "${request[@]}" --json --quiet | field id)
build/seamwright logs -f "$id" >out/service/events.log 2>&1 &
for _ in $(seq 600); do
  now=$(build/seamwright show "$id" --json)
  [ "$(field progress <<<"$now")" -ge 35 ] && break
  sleep 0.2
done
# The newest process of the gang is one of its ranks.
worker=$(pgrep -f "$PWD/build/seamwright worker" | tail -n 1)
echo "at $(field progress <<<"$now") %: kill -9 $worker"
kill -9 "$worker"
for _ in $(seq 1200); do
  now=$(build/seamwright show "$id" --json)
  case "$(field status <<<"$now")" in completed | failed) break ;; esac
  sleep 0.2
done
again=$(field latents_sha256 <<<"$now")
echo "attempts: $(field attempt <<<"$now"), hash $again"
if [ -z "$hash" ] || [ "$hash" != "$again" ]; then
  echo "the hashes differ: $hash and $again; out/service/log says more" >&2
  exit 1
fi
echo "the same hash as undisturbed"

cat <<END

Done: packages and build took $built s, the video $made s.
  video:          $PWD/$out
  contact sheet:  $PWD/$sheet
  dashboard:      $SEAMWRIGHT_SERVER/
  service's log:  $PWD/out/service/log

Try next:
  export SEAMWRIGHT_SERVER=$SEAMWRIGHT_SERVER
  build/seamwright submit --prompt "a blue star bouncing up and down over the sea" --noise freenoise --wait --out out/star.mp4
  build/seamwright ps; build/seamwright cluster; build/seamwright --help
  build/seamwright serve                                   # the service by itself, on port 8000
END
if [ "$stop" = no ]; then
  echo
  echo "The service goes on until Ctrl-C."
  wait "$service" || true
fi
