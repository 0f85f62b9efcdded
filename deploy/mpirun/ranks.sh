# Sourced by generate.sh and gang.sh: `ranks` of a hostfile, and `group_count` of `stages` ranks each.

# Adds up slots=N; a line without it has one.
count_ranks() {  # hostfile
  sed -e 's/#.*//' "$1" | awk '
    NF {
      slots = 1
      if (match($0, /slots *= *[0-9]+/)) {
        slots = substr($0, RSTART, RLENGTH)
        sub(/[^0-9]*/, "", slots)
      }
      all += slots
    }
    END { print all + 0 }'
}

stages=${STAGES:-1}
ranks=$(count_ranks "$hostfile")
if [ "$ranks" -lt "$stages" ] || [ $((ranks % stages)) -ne 0 ]; then
  echo "$hostfile has $ranks slots, which is no multiple of STAGES=$stages" >&2
  exit 2
fi
group_count=$((ranks / stages))
