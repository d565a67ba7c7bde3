#!/usr/bin/env bash
# The report in a browser: its script runs, the console stays silent, every curve is there, on light and dark ground. Skipped
# (77) where Chromium is not installed.
set -euo pipefail
program=$1
. "$(dirname "${BASH_SOURCE[0]}")/page.sh" report-page

cat >tiny.yaml <<'TEXT'
image: {size: 16, mean: auto, std: auto}
data: {train: world, world_images: 44, val_share: 0.2, workers: 1}
encoder: {patch: 4, width: 16, depth: 2, heads: 2}
decoders:
  - {tap: 1, width: 8, depth: 1, heads: 2}
  - {tap: last, width: 8, depth: 1, heads: 2}
schedule: {batch_size: 8, epochs: 3, warmup_epochs: 1, lr: 1e-3}
run: {threads: 1}
TEXT
"$program" pretrain tiny.yaml --out one --quiet
"$program" pretrain tiny.yaml --out two --quiet run.seed=1
"$program" report one two --out both.html

# The script adds a box for values to every chart; it is no part of the file.
browse --dump-dom "file://$work/one/report.html" >page
expect 5 '<div class="value"'
expect 2 'data-name="block 1"'
expect 2 'data-name="last block"'
expect 1 'data-name="block 1, held out"'
expect 1 'data-name="last block, held out"'
browse --dump-dom "file://$work/both.html" >page
expect 7 '<div class="value"'
expect 4 'data-name="block 1"'
expect 1 'data-name="two, held out"'

for ground in 0 1; do # dark, light
    browse --blink-settings=preferredColorScheme=$ground --window-size=1200,900 --screenshot="ground-$ground.png" \
        "file://$work/both.html"
done
cmp -s ground-0.png ground-1.png && fail 'light and dark look the same'

# An error in the script would be seen.
sed 's/for(const svg of/for(const svg of of/' both.html >broken.html
browse_any --dump-dom "file://$work/broken.html" >page
grep -qF CONSOLE console || fail 'an error of the script was not seen'
echo 'the report is as it should be'
