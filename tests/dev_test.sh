#!/usr/bin/env bash
# ./dev against made-up tools: what it installs, when it refuses, and that a demo can be run again. Nothing is installed or built.
set -euo pipefail

source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d "$PWD/dev-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/tools" "$work/tree"
cp "$source_folder/dev" "$work/tree/dev"
cd "$work/tree"

# The tools read what to pretend from these files: packages that are installed, the user's number, whether sudo works.
installed=$work/installed user=$work/user sudo_works=$work/sudo_works calls=$work/calls
export installed user sudo_works calls

tool() {
    { printf '#!/bin/bash\n' && cat; } >"$work/tools/$1"
    chmod +x "$work/tools/$1"
}
tool dpkg-query <<'TEXT'
status=0
while [ $# -gt 0 ]; do
    case $1 in
    -W) ;;
    -f) shift ;;
    *) grep "^$1 " "$installed" || status=1 ;;
    esac
    shift
done
exit $status
TEXT
tool id <<'TEXT'
cat "$user"
TEXT
tool sudo <<'TEXT'
[ -e "$sudo_works" ] || exit 1
echo "sudo $*" >>"$calls"
[ "$1" != -n ] || shift
exec "$@"
TEXT
tool apt-get <<'TEXT'
echo "apt-get $*" >>"$calls"
TEXT
# A build leaves a program whose runs note how often they were begun, and can be stopped.
tool cmake <<'TEXT'
echo "cmake $*" >>"$calls"
mkdir -p build
cat >build/lacuna <<'PROGRAM'
#!/bin/bash
case $1 in
pretrain)
    [ "$3 $5" = "--out --resume" ] || exit 2
    mkdir -p "$4"
    echo "$2" >>"$4/begun"
    case " $* " in *" --break $2 "*) exit 130 ;; esac ;;
reconstruct) : >"$5" ;;
report) cat "$2/begun" "$3/begun" >"$5" ;;
esac
PROGRAM
chmod +x build/lacuna
TEXT

count=0
# expect STATUS TEXT COMMAND..: the command exits with STATUS and says TEXT somewhere.
expect() {
    local status=0 said
    said=$(PATH="$work/tools:$PATH" "${@:3}" 2>&1) || status=$?
    count=$((count + 1))
    if [ "$status" != "$1" ] || ! grep -qF -- "$2" <<<"$said"; then
        printf 'FAILED: %s: status %s (wanted %s), wanted the text: %s\n%s\n' "${*:3}" "$status" "$1" "$2" "$said"
        exit 1
    fi
}
expect_calls() {
    count=$((count + 1))
    if [ "$(cat "$calls")" != "$1" ]; then
        printf 'FAILED: wanted the calls\n%s\nbut saw\n%s\n' "$1" "$(cat "$calls")"
        exit 1
    fi
}
all() {
    printf '%s installed\n' gcc g++ libc6-dev cmake ninja-build pkg-config libjpeg-dev libpng-dev libwebp-dev libtiff-dev \
        zlib1g-dev libyaml-dev libjansson-dev libcmocka-dev libopenmpi-dev openmpi-bin
}

echo 1000 >"$user"
all >"$installed"
: >"$calls"
expect 0 '' ./dev packages
expect_calls ''

# One is unknown to dpkg, one was removed and left its settings.
all | sed -e '/^cmake /d' -e 's/^libyaml-dev .*/libyaml-dev config-files/' >"$installed"
wanted='apt-get install -y --no-install-recommends cmake libyaml-dev'
expect 2 "apt-get update && $wanted" ./dev packages
expect 2 "apt-get update && $wanted" ./dev test
expect_calls ''

touch "$sudo_works"
expect 0 'installing cmake libyaml-dev' ./dev packages
expect_calls "sudo -n true
sudo -n env DEBIAN_FRONTEND=noninteractive apt-get update
apt-get update
sudo -n env DEBIAN_FRONTEND=noninteractive $wanted
$wanted"

echo 0 >"$user"
: >"$calls"
expect 0 '' ./dev packages
expect_calls "apt-get update
$wanted"

tool apt-get <<'TEXT'
exit 100
TEXT
expect 2 "apt-get update && $wanted" ./dev packages

all >"$installed"
: >"$calls"
expect 0 '' ./dev build --preset asan
expect_calls 'cmake --preset asan
cmake --build --preset asan'
: >"$calls"
tool ctest <<'TEXT'
echo "ctest $*" >>"$calls"
TEXT
expect 0 '' ./dev test -R graph
expect_calls 'cmake --preset release -DLACUNA_CUDA_WERROR=ON
cmake --build --preset release
ctest --test-dir build --output-on-failure --no-tests=error -j2 -R graph'
expect 2 'build does not know --fast' ./dev build --fast
expect 2 'check does not know --help' ./dev check --help
expect 2 'there is no command bild' ./dev bild
expect 0 'usage: ./dev COMMAND' ./dev help
expect 0 'usage: ./dev COMMAND' ./dev

# A demo that was stopped goes on, a finished one makes room for the next; a folder of somebody else does not.
expect 130 '== mae' ./dev demo --break mae-world
expect 130 '== deepmim' ./dev demo --break deepmim-world
expect 1 '' test -e runs/demo/report.html
expect 0 'runs/demo/report.html' ./dev demo
expect 0 '3' grep -c mae-world runs/demo/report.html
expect 0 '2' grep -c deepmim-world runs/demo/report.html
expect 0 '' test -e runs/demo/mae.png -a -e runs/demo/deepmim.png
expect 0 'runs/demo/report.html' ./dev demo
expect 0 '1' grep -c mae-world runs/demo/report.html
expect 2 'for one of your own' ./dev demo --out there
rm runs/demo/.made-by-demo
expect 1 'not made by the demo' ./dev demo
expect 0 '' test -e runs/demo/mae.png

# Without --config the whole comparison runs, with it one pair; both with the Python that is named.
tool peer <<'TEXT'
echo "peer $*" >>"$calls"
TEXT
: >"$calls"
expect 0 '' env LACUNA_PEER_PYTHON=peer ./dev bench --rounds 7
expect 0 '' env LACUNA_PEER_PYTHON=peer ./dev bench --config vit_s --rounds 7
expect 0 'no comparison with PyTorch' env -u LACUNA_PEER_PYTHON ./dev bench
grep ^peer "$calls" >"$work/peers"
expect 0 'peer bench/performance.py --rounds 7' head -n 1 "$work/peers"
expect 0 'peer bench/pair.py --rounds 7 -- build/lacuna bench train --config vit_s --precision f32 --json' tail -n 1 "$work/peers"

# Every script of the oracle runs in the Python that is named; one that finds a difference ends it.
mkdir -p tests/oracle
: >tests/oracle/one.py
: >tests/oracle/two.py
: >"$calls"
expect 0 '== tests/oracle/two.py' env LACUNA_PEER_PYTHON=peer ./dev oracle
grep ^peer "$calls" >"$work/peers" || true
expect 0 'peer tests/oracle/one.py build/lacuna' head -n 1 "$work/peers"
expect 1 'tests/oracle/one.py found a difference' env LACUNA_PEER_PYTHON=false ./dev oracle

# On GPUs that are made up: two are held against one, which needs two of them and MPI, and what differs is told.
tool cmake <<'TEXT'
TEXT
tool compute-sanitizer <<'TEXT'
TEXT
mkdir -p build/tests
for name in build/tests/gpu_cuda_test build/tests/gpu_features_cuda_test; do
    printf '#!/bin/bash\n' >"$name"
    chmod +x "$name"
done
cat >build/lacuna <<'PROGRAM'
#!/bin/bash
if [ "$1" = devices ]; then
    echo '{"device": "cpu", "usable": true, "threads": 2}'
    for i in 0 1 2 3 4; do
        echo "{\"device\": \"cuda:$i\", \"usable\": $([ "$i" -lt "$GPUS" ] && echo true || echo false), \"name\": \"none\"}"
    done
elif [ "$1" = pretrain ]; then
    loss=1.5 norm=2 bytes=same
    case " $* " in *' --devices 2 '* | *' --devices 4 '*)
        [ -z "${SAYS:-}" ] || { echo "lacuna: $SAYS" >&2; exit 1; }
        loss=${LOSS:-1.50001} norm=${NORM:-2}
        [ "${LACUNA_NCCL:-1}" = 1 ] || loss=${HOST_LOSS:-$loss}
        [ -z "${NO_NCCL:-}" ] || echo "gradients are summed by the host: $NO_NCCL"
        case " $* " in *' --resume '*) bytes=${BYTES:-same} ;; esac ;;
    esac
    while [ $# -gt 0 ]; do
        case $1 in
        --out) out=$2 ;;
        run.max_steps=*) steps=${1#*=} ;;
        esac
        shift
    done
    mkdir -p "$out/checkpoints/step-00000006"
    for ((i = 1; i <= steps; i++)); do
        echo "{\"step\":$i,\"loss\":$loss,\"loss.0\":7,\"grad_norm\":$norm,\"val_loss\":9}"
    done >"$out/log.jsonl"
    echo "$bytes" | tee "$out/checkpoints/step-00000006/model.safetensors" >"$out/checkpoints/step-00000006/state.safetensors"
fi
PROGRAM
expect 0 'losses and norms of gradients within 0.1 %' env GPUS=2 ./dev test-gpu
expect 0 'a resumed run has the same bytes (GPUs: 2)' env GPUS=2 ./dev test-gpu
expect 0 'a resumed run has the same bytes (GPUs: 4)' env GPUS=5 ./dev test-gpu
expect 1 'step 20: loss 1.5 and 1.51' env GPUS=2 LOSS=1.51 ./dev test-gpu
expect 1 'test-gpu failed: devices' env GPUS=3 NORM=1 ./dev test-gpu
expect 1 'step 1: loss 1.5 and null' env GPUS=2 LOSS=null ./dev test-gpu
expect 1 'step 20: loss 1.5 and 1.6' env GPUS=2 HOST_LOSS=1.6 ./dev test-gpu
expect 0 'NCCL WAS NOT TESTED' env GPUS=2 NO_NCCL='it is not here' ./dev test-gpu
expect 1 'test-gpu failed: devices' env GPUS=2 BYTES=others ./dev test-gpu
expect 0 'SEVERAL GPUS WERE NOT TESTED: MPI is missing' env GPUS=2 SAYS='this lacuna was built without MPI' ./dev test-gpu
expect 0 'all tests on the GPU passed' env GPUS=2 SAYS='mpirun cannot be started' ./dev test-gpu
expect 1 'lacuna: no room' env GPUS=2 SAYS='no room' ./dev test-gpu
expect 0 'SEVERAL GPUS WERE NOT TESTED: usable ones here: 1' env GPUS=1 ./dev test-gpu
expect 1 'no NVIDIA GPU can be used here' env GPUS=0 ./dev test-gpu

printf '%d checks passed\n' "$count"
