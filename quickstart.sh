#!/bin/bash
# From a bare Debian 12 to a long video: installs packages, builds the program, and generates a
# video from a prompt with the few-step demo checkpoint (models/demo/few_step).
#   ./quickstart.sh ["a prompt"]
set -euo pipefail
cd "$(dirname "$0")"
. tools/setup/common.sh

prompt=${1:-"a red circle moving in circles over green hills at night"}
out=out/quickstart.mp4
sheet=out/quickstart.png
start=$(date +%s)

if [ ! -d models/demo ]; then
  echo "models/demo is missing: this is not a complete copy of the project" >&2
  exit 1
fi

say "1 of 3: packages (root or sudo; only what is missing)"
tools/setup/install.sh

say "2 of 3: build of build/seamwright with $(build_jobs) jobs (a few minutes the first time)"
cmake --preset cpu -DSEAMWRIGHT_TESTS=OFF >build-configure.log 2>&1 || {
  cat build-configure.log >&2
  exit 1
}
rm -f build-configure.log
cmake --build build --target seamwright -j "$(build_jobs)"
built=$(seconds_since "$start")

say "3 of 3: a video from the prompt: $prompt"
generation=$(date +%s)
mkdir -p out
build/seamwright generate --model demo/few_step --prompt "$prompt" --frames 144 --out "$out"
build/seamwright sheet "$out" --out "$sheet"

cat <<END

Done: packages and build took $built s, the video $(seconds_since "$generation") s.
  video:          $PWD/$out
  contact sheet:  $PWD/$sheet
  how it was made: $PWD/$out.json

Try next:
  build/seamwright generate --prompt "a blue star bouncing up and down over the sea at sunset" --out out/star.mp4
                                                           # the 20-step model: slower, finer
  build/seamwright generate --from-sidecar $out.json --out out/again.mp4    # the same video again
  build/seamwright generate --help
  build/seamwright doctor                                  # what this machine has
END
