# Shared by quickstart.sh and test.sh: sourced, not run. Expects the current folder to be the
# project's.

say() { printf '\n==> %s\n' "$*"; }

# Open MPI refuses root and more ranks than cores unless told; tests run small gangs on any machine.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1

# Compile jobs: one a core, but no more than memory carries (about 1 GiB each).
build_jobs() {
  cores=$(nproc)
  carried=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
  [ "$carried" -ge 1 ] || carried=1
  if [ "$cores" -lt "$carried" ]; then echo "$cores"; else echo "$carried"; fi
}

seconds_since() { echo $(($(date +%s) - $1)); }
