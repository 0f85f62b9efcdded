#!/bin/bash
# One video by ranks on the hosts of a hostfile; started again when a rank or host is lost, from its
# checkpoints. docs/deploy/mpirun.md says what the hosts need.
#   generate.sh HOSTFILE OUT.mp4 "a prompt" [more options of `seamwright generate`...]
# STAGES=N in the environment makes groups of N ranks that share one U-Net; PROGRAM names the program.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
hostfile=$1 out=$2 prompt=$3
shift 3
program=${PROGRAM:-seamwright}

# shellcheck source=deploy/mpirun/ranks.sh
. "$(dirname "$0")/ranks.sh"

exec "$program" generate --launcher mpirun --hostfile "$hostfile" \
  --window-parallel-size "$group_count" --pipeline-parallel-size "$stages" \
  --resume "$out.work" --restarts 5 --out "$out" --prompt "$prompt" "$@"
