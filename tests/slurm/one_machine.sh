#!/bin/bash
# deploy/slurm on a Slurm of one node that this script starts on the loopback interface and ends again:
#  1. a video by two ranks under srun has the hash of one rank;
#  2. a rank is killed: the ranks start again in the allocation, same hash;
#  3. a rank is killed with no such start left, the job is requeued from outside as after the loss of a node,
#     or its time is nearly up: it is queued again and goes on from its checkpoints, same hash;
#  4. a gang under srun serves `seamwright serve`, loses a rank, is started again and finishes the job with
#     the same hash; drained, its batch job completes.
#   one_machine.sh SEAMWRIGHT MODEL_FOLDER
# Exit 77 (skipped): not root, or Slurm or munge is missing (apt-get install slurm-wlm munge).
set -euo pipefail
program=$(realpath "$1")
model=$(realpath "$2")
deploy=$(cd "$(dirname "$0")/../../deploy/slurm" && pwd)

for needed in munged slurmctld slurmd srun sbatch scontrol curl python3; do
  PATH=$PATH:/usr/sbin command -v "$needed" >/dev/null || { echo "SKIPPED: $needed is missing (apt-get install slurm-wlm munge curl python3)"; exit 77; }
done
[ "$(id -u)" -eq 0 ] || { echo "SKIPPED: slurmd starts ranks of other users only as root"; exit 77; }

work=$(mktemp -d)
daemons=()
start() {  # name command...: a daemon in the foreground, ended by clean_up
  local name=$1
  shift
  PATH=$PATH:/usr/sbin "$@" >"$work/$name.out" 2>&1 &
  daemons+=($!)
}
clean_up() {
  scancel --full --user=nobody 2>/dev/null || true
  sleep 1
  local at
  for ((at = ${#daemons[@]} - 1; at >= 0; --at)); do
    kill -TERM "${daemons[at]}" 2>/dev/null || true
    wait "${daemons[at]}" 2>/dev/null || true
  done
  [ "${KEEP:-no}" = yes ] && echo "kept: $work" || rm -rf "$work"
}
trap clean_up EXIT
fail() {
  echo "FAILED: $*"
  tail -n 20 "$work"/*.out "$work"/slurm*.log "$work"/shared/*.log 2>/dev/null
  exit 1
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# --- A cluster of one node -----------------------------------------------------------------------------
chmod 755 "$work"
mkdir -m 700 "$work/munge" "$work/state" "$work/spool"
mkdir "$work/run"
head -c 1024 /dev/urandom >"$work/munge/key"
chmod 400 "$work/munge/key"
start munged munged --foreground --force --key-file="$work/munge/key" --socket="$work/run/munge" \
  --pid-file="$work/munge/pid" --log-file="$work/munge/log" --seed-file="$work/munge/seed"
name=$(hostname -s)
export SLURM_CONF=$work/slurm.conf
cat >"$SLURM_CONF" <<END2
ClusterName=one
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
# A job that is queued again waits until its old credentials are void: two minutes unless told.
AuthInfo=socket=$work/run/munge,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=$name NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=$name Default=YES MaxTime=INFINITE State=UP
END2
for _ in $(seq 100); do [ -S "$work/run/munge" ] && break; sleep 0.1; done
start slurmctld slurmctld -D -f "$SLURM_CONF"
start slurmd slurmd -D -f "$SLURM_CONF" -N "$name"
for _ in $(seq 300); do
  if sinfo --noheader --format=%T 2>/dev/null | grep -q idle; then break; fi
  sleep 0.2
done
sinfo --noheader --format=%T | grep -q idle || fail "the node does not come up"
echo "Slurm $(sinfo --version | cut -d' ' -f2) with one node; MPI: $(srun --mpi=list 2>&1 | tr -s '\n\t ' ' ')"

# --- What users do -------------------------------------------------------------------------------------
# As nobody, in a folder that every node would see.
mkdir "$work/shared"
chown nobody "$work/shared"
as_user() { (cd "$work/shared" && setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$work/shared" PROGRAM="$program" "$@"); }
frames=${FRAMES:-64}
request=(--model "$model" --prompt "a blue star bouncing left and right over the sea at sunset" --frames "$frames"
  --checkpoint-steps 1 --segment-frames 16)
hash_of() { sed -n 's/.*"latents_sha256": *"\([0-9a-f]*\)".*/\1/p' "$1" | head -1; }
number() { sed -n "s/.*\"$2\": *\([0-9]*\).*/\1/p" "$1" | head -1; }
state_of() { scontrol --oneliner show job "$1" | sed -n 's/.* JobState=\([A-Z]*\) .*/\1/p'; }
restarts_of() { scontrol --oneliner show job "$1" | sed -n 's/.* Restarts=\([0-9]*\) .*/\1/p'; }
# The process of a job's rank, by the variables that Slurm gives it.
rank_process() {  # job rank
  local environ
  for environ in /proc/[0-9]*/environ; do
    { tr '\0' '\n' <"$environ" | grep -qx "SLURM_JOB_ID=$1" && tr '\0' '\n' <"$environ" | grep -qx "PMIX_RANK=$2"; } 2>/dev/null || continue
    environ=${environ%/environ}
    [ "$(readlink "$environ/exe")" = "$program" ] || continue
    echo "${environ#/proc/}"
    return
  done
}
wait_state() {  # job state
  for _ in $(seq 1500); do
    case "$(state_of "$1")" in
      "$2") return 0 ;;
      FAILED | CANCELLED | TIMEOUT | NODE_FAIL | COMPLETED) break ;;
    esac
    sleep 0.2
  done
  fail "job $1 is $(state_of "$1"), not $2"
}
wait_segment() {  # folder
  for _ in $(seq 1500); do
    [ -z "$(find "$1/segments" -name '*.json' 2>/dev/null | head -1)" ] || return 0
    sleep 0.2
  done
  fail "no segment appears in $1"
}
submit() { as_user sbatch --parsable --ntasks=2 "$@"; }

as_user "$program" generate "${request[@]}" --threads 1 --no-video --quiet --report "$work/shared/one.json"
one=$(hash_of "$work/shared/one.json")
[ -n "$one" ] || fail "no hash of one rank"
printf '%-25s%s\n' "one rank:" "$one"

job=$(submit "$deploy/generate.sbatch" "${request[@]}" --out two.mp4 --quiet)
wait_state "$job" COMPLETED
two=$(hash_of "$work/shared/two.mp4.json")
printf '%-25s%s\n' "two ranks under srun:" "$two"
[ "$one" = "$two" ] || fail "another video"

# Disturbs a job once something of it is kept for good, and holds the result to the undisturbed one.
disturbed() {  # name restarts-of-the-batch-job disturb job...
  local name=$1 restarts=$2 disturb=$3 job=$4 hash
  wait_segment "$work/shared/seamwright-$job.work"
  "$disturb" "$job"
  wait_state "$job" COMPLETED
  hash=$(hash_of "$work/shared/$name.mp4.json")
  printf '%-25s%s, queued again %s times, evaluations: %s\n' "$name:" "$hash" "$(restarts_of "$job")" \
    "$(grep -o '"evaluations_\(before\|planned\|whole\)": *[0-9]*' "$work/shared/$name.mp4.json" | tr -d '"' | tr '\n' ' ')"
  grep -E '^[0-9-]*T[0-9:]*Z |seamwright: lost' "$work/shared/seamwright-$job.log" | sed 's/^/  | /'
  [ "$one" = "$hash" ] || fail "another video"
  [ "$(restarts_of "$job")" = "$restarts" ] || fail "restarts of the batch job: $(restarts_of "$job"), not $restarts"
  [ "$(number "$work/shared/$name.mp4.json" evaluations_planned)" -lt "$(number "$work/shared/$name.mp4.json" evaluations_whole)" ] ||
    fail "it began again instead of going on"
}
kill_rank() {
  local victim
  victim=$(rank_process "$1" 1)
  [ -n "$victim" ] || fail "rank 1 of job $1 was not found"
  kill -9 "$victim"
}
requeue() { scontrol requeue "$1"; }
end_time() { scancel --batch --signal=USR1 "$1"; }  # what --signal=B:USR1@60 sends

disturbed killed 0 kill_rank "$(submit "$deploy/generate.sbatch" "${request[@]}" --out killed.mp4)"
grep -q 'seamwright: lost: rank 1 on .*: Killed; starting again (1 of 2)' "$work"/shared/seamwright-*.log ||
  fail "it does not say which rank was lost"
disturbed lost 1 kill_rank "$(RESTARTS=0 submit "$deploy/generate.sbatch" "${request[@]}" --out lost.mp4)"
disturbed requeued 1 requeue "$(submit "$deploy/generate.sbatch" "${request[@]}" --out requeued.mp4)"
disturbed time-is-up 1 end_time "$(submit "$deploy/generate.sbatch" "${request[@]}" --out time-is-up.mp4)"

# --- A gang for a service ------------------------------------------------------------------------------
control=$(free_port)
as_user "$program" serve --no-local-gang --port 0 --control-port "$control" --data "$work/shared/service" \
  >"$work/address" 2>"$work/serve.out" &
daemons+=($!)
for _ in $(seq 100); do [ -s "$work/address" ] && break; sleep 0.1; done
SEAMWRIGHT_SERVER=$(head -n 1 "$work/address")
export SEAMWRIGHT_SERVER
gang=$(submit "$deploy/gang.sbatch" "127.0.0.1:$control" "$work/shared/service/gang-token")
for _ in $(seq 600); do curl -fs "$SEAMWRIGHT_SERVER/readyz" >/dev/null && break; sleep 0.2; done
"$program" cluster | grep -E '^(id|layout|state) ' | sed 's/^/  | /'
id=$("$program" submit --model demo/few_step --prompt "a blue star bouncing left and right over the sea at sunset" \
  --frames "$frames" --json --quiet | sed -n 's/.*"id":"\([^"]*\)".*/\1/p')
field() { "$program" show "$id" --json | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
for _ in $(seq 1500); do [ "$(field progress)" -ge 30 ] && break; sleep 0.2; done
kill -9 "$(rank_process "$gang" 1)"
for _ in $(seq 1500); do case "$(field status)" in completed | failed) break ;; esac; sleep 0.2; done
served=$(field latents_sha256)
printf '%-25s%s, attempts %s\n' "a gang of a service:" "$served" "$(field attempt)"
[ "$one" = "$served" ] || fail "another video: $("$program" show "$id" --json)"
[ "$(field attempt)" -ge 2 ] || fail "the gang was not lost"
curl -fsS -X POST -H 'Content-Type: application/json' -d '{}' "$SEAMWRIGHT_SERVER/v1/cluster/drain" >/dev/null
wait_state "$gang" COMPLETED
grep -E '^[0-9-]*T[0-9:]*Z ' "$work/shared/seamwright-gang-$gang.log" | sed 's/^/  | /'
echo "all as it should be"
