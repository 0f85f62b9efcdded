#!/bin/bash
# Packs the program and the GPU tests, with the libraries that a machine with a GPU may lack, into one
# small archive for a machine where nothing can be built or fetched.
#   tools/gpu/pack.sh [BUILD-FOLDER=build-cuda] [ARCHIVE=gpu-bundle.tar.xz]
# CUDA's own libraries stay out: they are large, and such a machine has them (run.py finds them).
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build-cuda}
archive=${2:-gpu-bundle.tar.xz}

for program in seamwright test_gpu; do
  [ -x "$build/$program" ] || {
    echo "pack.sh: $build/$program is not there. Build it first:" >&2
    echo "  cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES=90 && cmake --build $build --target seamwright test_gpu" >&2
    exit 1
  }
done

staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
mkdir -p "$staging/bin" "$staging/lib"
for program in seamwright test_gpu; do
  cp "$build/$program" "$staging/bin/"
  strip "$staging/bin/$program"
done
# The tests look for fixtures in the source folder they were built from.
sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt" > "$staging/source-folder"
git rev-parse HEAD > "$staging/commit"

# What both programs load, but for the C library (the target's must be as new) and CUDA.
for program in seamwright test_gpu; do
  ldd "$build/$program"
done | awk '$2 == "=>" && $3 ~ "^/" {print $3}' | sort -u |
  grep -Ev '/(libc|libm|libdl|librt|libpthread|ld-linux-x86-64|libcudart|libcublasLt|libcudnn[a-z_]*|libnccl)\.so' |
  while read -r library; do
    cp -L "$library" "$staging/lib/"
    strip --strip-unneeded "$staging/lib/$(basename "$library")" 2>/dev/null || true
  done

tar -C "$staging" -c . | xz -T2 -9e > "$archive"
echo "$archive: $(stat -c %s "$archive") bytes; with the tracked files $(($(stat -c %s "$archive") + $(git ls-files -z | xargs -0 du -cb | tail -1 | cut -f1))) bytes"
