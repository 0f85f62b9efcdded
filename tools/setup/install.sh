#!/bin/sh
# Installs the Debian packages that building, running and (with --tests) testing need.
# Installs only what is missing, as root or through sudo; safe to run again.
#   tools/setup/install.sh [--tests | --sections=NAME,NAME...] [--list]
# --sections takes those sections of packages.txt alone, for images.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sections="build run"
list=no
for argument in "$@"; do
  case "$argument" in
    --tests) sections="build run test" ;;
    --sections=*) sections=$(echo "${argument#*=}" | tr ',' ' ') ;;
    --list) list=yes ;;
    *) echo "usage: tools/setup/install.sh [--tests | --sections=NAME,NAME...] [--list]" >&2; exit 2 ;;
  esac
done

wanted=""
for section in $sections; do
  grep -q "^$section " "$here/packages.txt" || { echo "packages.txt has no section '$section'" >&2; exit 2; }
  wanted="$wanted $(sed -n "s/^$section  *//p" "$here/packages.txt" | tr '\n' ' ')"
done
if [ "$list" = yes ]; then
  for package in $wanted; do echo "$package"; done
  exit 0
fi
if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "This script knows Debian 12. Elsewhere, install the counterparts of:$wanted" >&2
  exit 1
fi

missing=""
for package in $wanted; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
  echo "setup: all packages are there"
  exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "setup: these packages are missing, and neither root nor sudo is at hand:" >&2
    echo "  as root, run: apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    exit 1
  fi
  as_root=sudo
fi
echo "setup: installing$missing"
echo "setup: (on a bare machine this fetches about 350 MB and takes one to three minutes)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086  # the list is meant to be split
if ! { $as_root apt-get update -q &&
       $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
         --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  echo "setup: installing failed; the end of apt-get's output is above" >&2
  exit 1
fi
echo "setup: done"
