#!/bin/bash
# One video made by ranks on two hosts: the hash of one rank, and the traffic that the engine counts.
# Then the cable is pulled half way: both hosts give up within the time-outs, no process is left, and
# the video goes on from its checkpoints to the same hash.
# The hosts are network namespaces with an address each; mpirun reaches the second one through an
# agent, as it would through ssh.
#   two_hosts.sh SEAMWRIGHT MODEL_FOLDER
# Exit 77 (skipped): namespaces are not permitted here, iproute2 is missing, or Open MPI alone cannot
# start a process on the second host.
set -euo pipefail
program=$1
model=$2
name=sw$$
work=$(mktemp -d)
first=10.231.7.1
second=10.231.7.2

clean_up() {
  ip netns del "${name}a" 2>/dev/null || true
  ip netns del "${name}b" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

if ! command -v ip >/dev/null || ! ip netns add "${name}a" 2>"$work/why"; then
  echo "SKIPPED: network namespaces are not permitted here: $(cat "$work/why" 2>/dev/null)"
  exit 77
fi
# Another root directory that is no mount point lets them be made, but not be used.
if ! ip netns exec "${name}a" true 2>"$work/why"; then
  echo "SKIPPED: network namespaces cannot be used here: $(cat "$work/why")"
  exit 77
fi
ip netns add "${name}b"
ip link add "${name}x" netns "${name}a" type veth peer name "${name}y" netns "${name}b"
ip -n "${name}a" addr add $first/24 dev "${name}x"
ip -n "${name}b" addr add $second/24 dev "${name}y"
for side in a:x b:y; do
  ip -n "$name${side%:*}" link set lo up
  ip -n "$name${side%:*}" link set "$name${side#*:}" up
done

cat >"$work/agent" <<END
shift  # the host: there is only one other
exec ip netns exec ${name}b /bin/sh -c "\$*"
END
printf '%s slots=1\n%s slots=1\n' $first $second >"$work/hosts"
export OMPI_MCA_plm_rsh_agent="/bin/sh $work/agent" OMPI_MCA_btl=tcp,self
export OMPI_MCA_btl_tcp_if_include=10.231.7.0/24 OMPI_MCA_oob_tcp_if_include=10.231.7.0/24
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# Open MPI alone reaches the second host; links need a moment after they come up.
reachable() {
  local try
  for try in 1 2 3; do
    timeout 30 ip netns exec "${name}a" mpirun --hostfile "$work/hosts" -n 2 hostname >"$work/reach" 2>&1 && return
    sleep 1
  done
  return 1
}
if ! reachable; then
  echo "SKIPPED: Open MPI cannot start a process on the second host here:"
  cat "$work/reach"
  exit 77
fi

frames=40
make_video() {  # report generate-arguments...
  local report=$1
  shift
  timeout -k 1 "${timeout_s:-120}" "${on_host[@]}" "$program" generate --model "$model" --frames $frames --threads 1 --no-video --quiet \
    --prompt "a blue star bouncing left and right over the sea at sunset" --report "$report" "$@"
}
hash_of() { sed -n 's/.*"latents_sha256": "\([0-9a-f]*\)".*/\1/p' "$1"; }
number() { sed -n "s/^  \"$2\": \([0-9]*\).*/\1/p" "$1"; }
traffic() {
  local counters=/sys/class/net/${name}x/statistics
  ip netns exec "${name}a" cat "$counters/tx_bytes" "$counters/rx_bytes" | { read -r sent; read -r got; echo $((sent + got)); }
}

on_host=()
make_video "$work/one.json"
on_host=(ip netns exec "${name}a")
before=$(traffic)
make_video "$work/two.json" --window-parallel-size 2 --hostfile "$work/hosts"
after=$(traffic)

one=$(hash_of "$work/one.json")
two=$(hash_of "$work/two.json")
counted=$(number "$work/two.json" bytes_moved)
moved=$((after - before))
echo "one rank:  $one"
echo "two hosts: $two"
echo "bytes between the hosts: $counted counted by the engine, $moved by the interface"
[ -n "$one" ] && [ "$one" = "$two" ] || { echo "FAILED: not one video"; exit 1; }
# Headers, acknowledgements and the launcher's own messages come on top: 5 percent at most.
[ "$counted" -gt 1000000 ] && [ "$moved" -ge "$counted" ] &&
  [ $((moved * 100)) -le $((counted * 105)) ] ||
  { echo "FAILED: the engine's count is not within 5 percent of the interface's"; exit 1; }

# 10 s of silence end a rank, and a few more the launcher.
give_up_limit=40
frames=160
on_host=()
make_video "$work/long.json"
one=$(hash_of "$work/long.json")
on_host=(ip netns exec "${name}a")
make_video "$work/cut.json" --window-parallel-size 2 --hostfile "$work/hosts" \
  --resume "$work/kept" --segment-frames 16 --checkpoint-steps 1 >"$work/cut.log" 2>&1 &
run=$!
for _ in $(seq 300); do  # until something was kept for good
  if [ -n "$(find "$work/kept/segments" -type f 2>/dev/null | head -1)" ]; then break; fi
  sleep 0.1
done
kill -0 $run || { cat "$work/cut.log"; echo "FAILED: the run ended before the cable was pulled"; exit 1; }
ip -n "${name}a" link set "${name}x" down
cut=$(date +%s)
for _ in $(seq $((give_up_limit * 10))); do
  if ! kill -0 $run 2>/dev/null && [ -z "$(ip netns pids "${name}a"; ip netns pids "${name}b")" ]; then break; fi
  sleep 0.1
done
took=$(($(date +%s) - cut))
left=$(ip netns pids "${name}a"; ip netns pids "${name}b")
status=0
wait $run || status=$?
echo "the cable was pulled; both hosts had given up after $took s, exit code $status"
[ -z "$left" ] || { echo "FAILED: processes are left: $left"; exit 1; }
[ $status -ne 0 ] || { echo "FAILED: the run says that it succeeded"; exit 1; }
ip -n "${name}a" link set "${name}x" up
reachable || { cat "$work/reach"; echo "FAILED: the mended cable does not connect"; exit 1; }
make_video "$work/resumed.json" --window-parallel-size 2 --hostfile "$work/hosts" \
  --resume "$work/kept" --segment-frames 16 --checkpoint-steps 1
resumed=$(hash_of "$work/resumed.json")
echo "resumed:   $resumed, $(number "$work/resumed.json" evaluations) of $(number "$work/long.json" evaluations) evaluations"
[ "$(number "$work/resumed.json" evaluations)" -lt "$(number "$work/long.json" evaluations)" ] ||
  { echo "FAILED: it began again instead of going on"; exit 1; }
[ -n "$one" ] && [ "$one" = "$resumed" ] || { echo "FAILED: another video ($one)"; exit 1; }
