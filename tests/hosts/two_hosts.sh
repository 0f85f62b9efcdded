#!/bin/bash
# One video made by ranks on two hosts: the hash of one rank, and the traffic that the engine counts.
# The hosts are network namespaces with an address each; mpirun reaches the second one through an
# agent, as it would through ssh.
#   two_hosts.sh SEAMWRIGHT MODEL_FOLDER
# Exit 77 (skipped): namespaces are not permitted here, or iproute2 is missing.
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
ip netns add "${name}b"
ip link add "${name}x" netns "${name}a" type veth peer name "${name}y" netns "${name}b"
ip -n "${name}a" addr add $first/24 dev "${name}x"
ip -n "${name}b" addr add $second/24 dev "${name}y"
for side in a:x b:y; do
  ip -n "$name${side%:*}" link set lo up
  ip -n "$name${side%:*}" link set "$name${side#*:}" up
done

cat >"$work/agent" <<END
#!/bin/sh
shift  # the host: there is only one other
exec ip netns exec ${name}b /bin/sh -c "\$*"
END
chmod +x "$work/agent"
printf '%s slots=1\n%s slots=1\n' $first $second >"$work/hosts"
export OMPI_MCA_plm_rsh_agent=$work/agent OMPI_MCA_btl=tcp,self
export OMPI_MCA_btl_tcp_if_include=10.231.7.0/24 OMPI_MCA_oob_tcp_if_include=10.231.7.0/24

make_video() {  # report generate-arguments...
  local report=$1
  shift
  "${on_host[@]}" "$program" generate --model "$model" --frames 40 --threads 1 --no-video --quiet \
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
