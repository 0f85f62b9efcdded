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

# Open MPI's launcher, and of its plugins those for ranks on one host.
mkdir -p "$staging/plugins"
cp -L "$(command -v mpirun)" "$staging/bin/mpirun"
plugins=$(ompi_info --parsable --path pkglibdir | cut -d: -f3)
for plugin in "$plugins"/mca_{allocator,bml,errmgr,filem,grpcomm,iof,mpool,oob,patcher,rcache}_*.so \
              "$plugins"/mca_{reachable_weighted,osc_sm,osc_rdma,osc_pt2pt,regx,rmaps,rml,routed,rtc,shmem,state,topo_basic}*.so \
              "$plugins"/mca_{btl_self,btl_tcp,btl_vader,pml_ob1,odls_default,plm_isolated,plm_rsh}.so \
              "$plugins"/mca_coll_{basic,inter,libnbc,self,sm,sync,tuned}.so \
              "$plugins"/mca_ess_{env,hnp,pmi,singleton}.so "$plugins"/mca_schizo_{ompi,orte}.so \
              "$plugins"/mca_pmix_{ext3x,isolated}.so; do
  [ -e "$plugin" ] && cp -L "$plugin" "$staging/plugins/"
done
strip --strip-unneeded "$staging"/plugins/*.so

# What all of it loads, but for the C library (the target's must be as new) and CUDA.
for program in "$build/seamwright" "$build/test_gpu" "$staging/bin/mpirun" "$staging"/plugins/*.so; do
  ldd "$program"
done | awk '$2 == "=>" && $3 ~ "^/" {print $3}' | sort -u |
  grep -Ev '/(libc|libm|libdl|librt|libpthread|ld-linux-x86-64|libcudart|libcublasLt|libcudnn[a-z_]*|libnccl)\.so' |
  while read -r library; do
    cp -L "$library" "$staging/lib/"
    strip --strip-unneeded "$staging/lib/$(basename "$library")" 2>/dev/null || true
  done

tar -C "$staging" -c . | xz -T2 -6 > "$archive"
echo "$archive: $(stat -c %s "$archive") bytes; with the tracked files $(($(stat -c %s "$archive") + $(git ls-files -z | xargs -0 du -cb | tail -1 | cut -f1))) bytes"
