#!/usr/bin/env bash
# A CUDA toolkit that cannot compile lacuna leaves the default build without GPUs, and says why; one that can is used. With
# made-up toolkits; nothing is compiled. Called as: cuda_build_test.sh SOURCE
set -euo pipefail
source=$1
work=$(mktemp -d "$PWD/cuda_build-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/toolkit/bin" "$work/toolkit/lib64" "$work/toolkit/include"
: >"$work/toolkit/lib64/libcudart_static.a"
: >"$work/toolkit/include/cublasLt.h"

fail() {
    printf 'cuda_build_test: %s\n%s\n' "$1" "$(cat "$work/said")"
    exit 1
}
nvcc() {
    { printf '#!/bin/bash\necho called >>%q\n' "$work/calls" && cat; } >"$work/toolkit/bin/nvcc"
    chmod +x "$work/toolkit/bin/nvcc"
}
configure() {
    : >"$work/calls"
    CUDA_PATH=$work/toolkit cmake -G Ninja -S "$source" -B "$work/build" -DLACUNA_TESTS=OFF "$@" >"$work/said" 2>&1
}
uses_nvcc() {
    grep -q "$work/toolkit/bin/nvcc" "$work/build/build.ninja"
}

nvcc <<'TEXT'
echo "nvcc fatal   : Value 'c++20' is not defined for option 'std'" >&2
exit 1
TEXT
configure || fail "a failing nvcc stops the default build"
grep -q "built without NVIDIA GPUs: .*Value 'c++20' is not defined" "$work/said" || fail "it is not said why CUDA is left out"
! uses_nvcc || fail "a failing nvcc is used"
! configure -DLACUNA_CUDA=ON || fail "LACUNA_CUDA=ON goes on without CUDA"
grep -q "LACUNA_CUDA is ON, but" "$work/said" || fail "LACUNA_CUDA=ON does not say why it stops"

# Mended, it is found without more ado, and tried once.
nvcc <<'TEXT'
while [ $# -gt 1 ]; do shift; done
: >"$1"
TEXT
configure -DLACUNA_CUDA=AUTO || fail "a working nvcc is refused"
uses_nvcc || fail "a working nvcc is not used"
[ -s "$work/calls" ] || fail "nvcc was not tried"
! grep -q -e '-Werror=all-warnings' "$work/build/build.ninja" || fail "warnings stop a user's build"
configure -DLACUNA_CUDA_WERROR=ON || fail "a working nvcc is refused the second time"
[ ! -s "$work/calls" ] || fail "nvcc is tried again though nothing changed"
grep -q -e '-Werror=all-warnings' "$work/build/build.ninja" || fail "LACUNA_CUDA_WERROR does nothing"
printf 'cuda_build_test: passed\n'
