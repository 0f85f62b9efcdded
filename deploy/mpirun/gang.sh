#!/bin/bash
# A gang on the hosts of a hostfile that serves a running `seamwright serve`, one job after another;
# started again when it is lost. docs/deploy/mpirun.md says what the hosts need.
#   gang.sh HOSTFILE COORDINATOR:PORT TOKEN-FILE [more options of `seamwright worker`...]
# STAGES=N in the environment makes groups of N ranks that share one U-Net; PROGRAM names the program.
# Ends when the coordinator drains the gang, on Ctrl-C, and after ten losses within seconds.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
hostfile=$1 coordinator=$2 token_file=$3
shift 3
program=${PROGRAM:-seamwright}
program=$(command -v "$program")  # the same path on every host

# shellcheck source=deploy/mpirun/ranks.sh
. "$(dirname "$0")/ranks.sh"

# A rank's threads need more than the core that mpirun would bind it to; a host that is cut off is
# noticed after six seconds instead of minutes.
gang=(mpirun -n "$ranks" --hostfile "$hostfile" --bind-to none
  --mca oob_tcp_keepalive_time 2 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 4)
[ "$(id -u)" -ne 0 ] || gang+=(--allow-run-as-root)
gang+=("$program" worker --coordinator "$coordinator" --token-file "$(realpath "$token_file")"
  --name "$(hostname)-$$" --window-parallel-size "$group_count" --pipeline-parallel-size "$stages" "$@")

stop=no run=
trap 'stop=yes; kill -TERM "$run" 2>/dev/null || true' INT TERM
quick=0
while [ "$stop" = no ]; do
  started=$SECONDS
  "${gang[@]}" &
  run=$!
  status=0
  wait "$run" || status=$?
  if [ "$stop" = yes ]; then wait "$run" || true; break; fi
  case $status in
    0) exit 0 ;;  # drained
    2 | 3 | 4) exit "$status" ;;  # a bad option, a missing file: no use in another try
  esac
  if [ $((SECONDS - started)) -lt 60 ]; then quick=$((quick + 1)); else quick=0; fi
  if [ "$quick" -ge 10 ]; then
    echo "gang.sh: lost ten times in a row within a minute; the last exit code was $status" >&2
    exit "$status"
  fi
  echo "gang.sh: the gang ended with exit code $status; starting it again in $((quick + 1)) s" >&2
  sleep $((quick + 1))
done
