#!/usr/bin/env bash
# bench/performance.py, epoch.py and gpu.py against a made-up program and a made-up PyTorch: which mode is picked, what the page says, that hand-written
# text stays, and that a run that was interrupted goes on where it was.
set -euo pipefail

command -v python3 >/dev/null || exit 77 # skipped: only the benchmark needs it
source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d "$PWD/bench-XXXXXX")
trap 'rm -rf "$work"' EXIT
export calls=$work/calls PYTHONDONTWRITEBYTECODE=1
: >"$calls"

fail() {
    printf 'FAILED: %s\n' "$1"
    [ ! -e "$work/page.md" ] || cat "$work/page.md"
    exit 1
}

cat >"$work/lacuna" <<'TEXT'
#!/bin/bash
echo "ours $*" >>"$calls"
seconds=1.0
case " $* " in *' bf16 '*) seconds=0.5 ;; esac
case " $* " in *' --threads 1 '*) seconds=1.9 ;; esac
[ "${LACUNA_CUDA_LANES:-1}" = 1 ] || seconds=0.4
case "$LACUNA_CUDA_LANES $* " in '2 '*' --autotune '*) seconds=0.25 ;; esac
if [[ " $* " == *' --devices '* ]]; then
    # The last two steps count: of two devices 1.9 times as many pictures a second, and three are not there.
    out=${*: -3:1} devices=${*: -5:1}
    [[ $devices != 3 && " $* " == *" mae-cifar10 "*" schedule.batch_size=$((4 * devices)) "*" encoder.depth=1 "* ]] || exit 1
    mkdir -p "$out/checkpoints"
    echo '{"gradients": "NCCL 2.1.2"}' >"$out/environment.json"
    for rate in 1 2 $((100 + 90 * (devices - 1))) $((100 + 90 * (devices - 1))); do
        echo "{\"images_per_second\": $rate, \"seconds\": 0.5, \"data_wait\": 0.0$devices}"
    done | tee "$out/log.jsonl"
elif [ "$1" = pretrain ]; then
    sleep 0.1
    for step in 1 2; do
        sleep 0.5
        echo "{\"step\": $step, \"seconds\": 0.5, \"data_wait\": 0.05}"
    done
elif [ "$2" = data ]; then
    rate=900
    case " $* " in *' --first-pass '*) rate=640 ;; esac
    echo "{\"pictures_per_second\": $rate, \"size\": 224, \"files\": 110}"
elif [ "$2" = ops ]; then
    line='"calls": 2, "seconds": 0.4, "share": 0.4, "gflops_per_second": 60, "limit": "compute", "floor_seconds": 0.3, "peak_share": 0.75'
    echo "{\"step_seconds_mean\": 1.0, \"floor_seconds\": 0.6, \"peak_share\": 0.6, \"gflops_per_second\": 50,
        \"peak\": {\"f32_gflops_per_second\": 100, \"bf16_gflops_per_second\": 200, \"memory_gbytes_per_second\": 10},
        \"ops\": [{\"op\": \"linear\", $line}, {\"op\": \"linear_dw\", $line}],
        \"shapes\": [{\"op\": \"linear\", \"sizes\": \"2 x 3 x 4\", $line}]}" | tr -d '\n'
    echo
else
    echo "{\"step_seconds_median\": $seconds, \"peak_rss_bytes\": 100e6, \"images_per_second\": 1024, \"gflops_per_second\": 50,
        \"peak_device_bytes\": 1e9, \"device\": \"a GPU\"}" | tr -d '\n'
    echo
fi
TEXT
cat >"$work/python" <<'TEXT'
#!/bin/bash
echo "theirs $*" >>"$calls"
case " $* " in
*' bf16 --compile '*) echo 'no compiler' >&2; exit 1 ;;
*' bf16 '*) seconds=1.25 ;;
*' --compile '*) seconds=1.5 ;;
*) seconds=2.0 ;;
esac
echo "warnings"
echo "{\"step_seconds_median\": $seconds, \"peak_rss_bytes\": 400e6, \"torch\": \"9.9\", \"pictures_per_second\": 256, \"peak_device_bytes\": 2e9}"
TEXT
chmod +x "$work/lacuna" "$work/python"
export LACUNA_PEER_PYTHON=$work/python
printf '# Performance\n\nWritten by hand.\n' >"$work/page.md"

run() {
    python3 "$source_folder/bench/performance.py" --configs cifar_p4 --program "$work/lacuna" --page "$work/page.md" \
        --results "$work/results.jsonl" "$@" 2>"$work/said" || fail "$(cat "$work/said")"
}
says() {
    grep -qF -- "$1" "$work/page.md" || fail "the page does not say: $1"
}

run --rounds 2
says 'Written by hand.'
native=0
grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo && native=1
if [ $native = 1 ]; then
    says '| cifar_p4 | bf16 | 2.50 (2.50-2.50) | bf16 eager | 1.50 (1.50-1.50) | f32 compiled |'
    says '| cifar_p4 | bf16 | 50 | 200 | 25 % | 30 % | - | 30 % |'
else
    says '| cifar_p4 | f32 | 1.50 (1.50-1.50) | f32 compiled | 1.50 (1.50-1.50) | f32 compiled |'
fi
says '| cifar_p4 | f32 | 50 | 100 | 50 % | 60 % | - | 60 % | 80 % |'
says '0.25 (0.25-0.25)'
says 'linear 10 % (compute, 75 % of its peak)'
says 'PyTorch 9.9'
[ "$(nproc)" -lt 2 ] || says '| cifar_p4 | f32 | 1.900 | 1.000 | 1.90 (1.90-1.90) |'

# Nothing is measured twice, one round more is one round more, and a line that was cut off does no harm.
before=$(grep -c theirs "$calls")
printf '{"kind": "rou' >>"$work/results.jsonl"
cp "$work/page.md" "$work/first.md"
run --rounds 2
[ "$(grep -c theirs "$calls")" = "$before" ] || fail "measured again: $(tail -3 "$calls")"
cmp -s "$work/page.md" "$work/first.md" || fail "the page is another one"
run --rounds 3
[ "$(grep -c theirs "$calls")" = $((before + 1 + native)) ] || fail "a third round ran $(grep -c theirs "$calls") times, not $((before + 1 + native))"
run --rounds 3
[ "$(grep -c theirs "$calls")" = $((before + 1 + native)) ] || fail "the round behind a line that was cut off is lost"
[ "$(grep -c 'made by ./dev bench on' "$work/page.md")" = 1 ] || fail "the page holds the part twice"

# 512 pictures in a second and a little: twice theirs, half of the step alone, a tenth of it waiting.
python3 "$source_folder/bench/epoch.py" --data pictures --rounds 1 --steps 2 --program "$work/lacuna" --json >"$work/epoch" 2>"$work/said" ||
    fail "$(cat "$work/said")"
python3 - "$work/epoch" <<'TEXT' || fail "$(cat "$work/epoch")"
import json, sys
r = json.load(open(sys.argv[1]))
near = lambda value, wanted: 0.6 * wanted < value < 1.1 * wanted  # the machine may be busy
sys.exit(not (near(r["ratio_theirs_median"], 2) and near(r["ratio_alone_median"], 0.5) and near(r["wait_share_median"], 0.1)
              and 0.05 < r["start_seconds_median"] < 3 and r["steps"] == 2))
TEXT

run --rounds 3 --data pictures --epoch-steps 2
says '| f32 | '
grep -qE '^\| f32 \| [345][0-9]* \| [12]\.[0-9]+ .*\| f32 compiled \| 0\.[3-5][0-9]* .* \| (8|9|10)\.[0-9]+ % \|' "$work/page.md" ||
    fail "the page does not tell of whole training"

# The loader alone: its section comes, stays through other measurements, and the others stay as they are.
loader() {
    python3 "$source_folder/bench/performance.py" --program "$work/lacuna" --page "$work/page.md" --results "$work/results.jsonl" \
        --rounds 2 --only-loader "$@" 2>"$work/said" || fail "$(cat "$work/said")"
}
cp "$work/page.md" "$work/before.md"
loader --photos pictures
says "| all but each file's first | 900 | 256 | 3.52 (3.52-3.52) |"
says "| each file's first (\`--first-pass\`) | 640 | 256 | 2.50 (2.50-2.50) |"
grep -v -e '^### Loading' -e '^Pictures a second of one worker' -e '^| looks' -e '^| all but' -e '^| each file' -e 'bench data' -e torch_data "$work/page.md" | sort -u |
    grep -v '^| --- | --- | --- | --- |$' >"$work/rest"
grep -v '^| --- | --- | --- | --- |$' "$work/before.md" | sort -u | cmp -s - "$work/rest" || fail "the loader's measurement changed another section"
cp "$work/page.md" "$work/first.md"
loader --photos pictures
cmp -s "$work/page.md" "$work/first.md" || fail "the loader's section is there twice or has changed"
run --rounds 3
says "| all but each file's first | 900 | 256 | 3.52 (3.52-3.52) |"
says "| each file's first (\`--first-pass\`) | 640 | 256 | 2.50 (2.50-2.50) |"
grep -v '"loader"' "$work/results.jsonl" >"$work/others.jsonl"
python3 "$source_folder/bench/performance.py" --configs cifar_p4 --program "$work/lacuna" --page "$work/page.md" \
    --results "$work/others.jsonl" --only-page 2>"$work/said" || fail "$(cat "$work/said")"
cmp -s "$work/page.md" "$work/first.md" || fail "a page without new results of the loader lost its section"

# A GPU: the larger batch is twice as fast, and so is its peer's. One that fails leaves what was measured before.
gpu() {
    python3 "$source_folder/bench/gpu.py" --program "$work/lacuna" --configs cifar_p4,vit_b --rounds 2 --out "$work/gpu" "$@" \
        >"$work/page.md" 2>"$work/said" || fail "$(cat "$work/said")"
}
gpu --batches 2,4
says 'on a GPU, in bf16'
says '| cifar_p4 | 4 | 16 (both) | 1.00 (1.00-1.00) | 1.25 (1.25-1.25) | 2.00 (2.00-2.00) | 0.1 | 25 % | 1.00 | 5.00 | eager, 4, 2.00 GB |'
says '| linear 2 x 3 x 4 | 2 | 400.000 | 40.0 % | compute | 300.000 | 75 % |'
for way in autotune lanes both; do
    [ "$(grep -c "\"kind\": \"$way\"" "$work/gpu/gpu.jsonl")" = 4 ] || fail "$(cat "$work/gpu/gpu.jsonl")"
done
grep -q 'times one device' "$work/page.md" && fail "several devices were measured, and nobody wanted that"
gpu --batches 4 --devices 3 --settings encoder.depth=1
says "cifar_p4: \`pretrain mae-cifar10\`, 4 pictures a step on each device"
says '| 1 | 100 | 1.00 | 2 % |'
says '| 2 | 190 | 1.90 | 4 % | NCCL 2.1.2 |'
grep -q 'mae-vit-b16' "$work/page.md" && fail "runs that failed are on the page"
[ ! -e "$work/gpu/cifar_p4-devices-2/checkpoints" ] || fail "checkpoints stay"
sed -i '2i case " $* " in *" --batch-size 4 "*|*" vit_b "*) exit 1 ;; esac' "$work/lacuna"
gpu --batches 2,4
says '| cifar_p4 | 2 | 8 (both) |'
grep -q vit_b "$work/page.md" && fail "what failed is on the page"
sed -i 2d "$work/lacuna"
if gpu_said=$(python3 "$source_folder/bench/gpu.py" --program "$work/lacuna" --seconds 0 --out "$work/none" 2>&1); then
    fail "nothing was measured, and nothing said"
fi
[[ $gpu_said == *'nothing could be measured'* ]] || fail "$gpu_said"

# Another program has no results yet, and what fails says so.
echo 'exit 1' >>"$work/lacuna"
if python3 "$source_folder/bench/performance.py" --configs cifar_p4 --program "$work/lacuna" --page "$work/page.md" \
    --results "$work/results.jsonl" 2>"$work/said"; then
    fail "a program that fails went unnoticed"
fi
grep -q 'exit status 1' "$work/said" || fail "$(cat "$work/said")"
printf 'passed\n'
