#!/usr/bin/env python3
"""What a step takes on a GPU, and what keeps it from taking less.

  [LACUNA_PEER_PYTHON=PYTHON] gpu.py [--configs vit_b,vit_l] [--batches 64,128] [--seconds N] [--devices N]
         [--out FOLDER]

For each configuration in bf16, batches are made larger for as long as pictures a second grow by 2 % or more and memory is there. With the
best batch the step is timed again in turn as it is, with algorithms that are timed first (`bench train --autotune`), with weight
gradients on a second lane (LACUNA_CUDA_LANES=2) and with both, --rounds times each, and `lacuna bench ops` tells where the time goes,
beside what the GPU was measured to do at most. With LACUNA_PEER_PYTHON the modes of torch_mae.py are tried as batches of ours are.
With --devices N short runs of `lacuna pretrain` on 1, 2, 4 .. N devices follow, each device with that batch, on pictures that are drawn
in the first step and then lie in memory, cropped anew each time; the second half of the steps counts. Nothing new is begun --seconds after
the start: what is there by then is told.

Every result is added to FOLDER/gpu.jsonl at once; also all lines of `bench ops`; FOLDER/gpu.md has the tables, FOLDER/CONFIG-devices-N the
logs of those runs.
Exits 1 when nothing could be measured, 2 on wrong usage.
"""
import argparse
import json
import os
import shlex
import shutil
import statistics
import sys
import time

import pair
from page import spread, table

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Of a run: what stands before the command and behind it.
WAYS = {"plain": ("env LACUNA_CUDA_LANES=1 ", ""), "autotune": ("env LACUNA_CUDA_LANES=1 ", " --autotune"),
        "lanes": ("env LACUNA_CUDA_LANES=2 ", ""), "both": ("env LACUNA_CUDA_LANES=2 ", " --autotune")}
# Of the configurations, as whole recipes.
RECIPES = {"vit_b": "mae-vit-b16", "vit_l": "mae-vit-l16", "deepmim_b": "deepmim-vit-b16-300", "cifar_p4": "mae-cifar10"}
MODES = ("", " --compile", " --compile --mode reduce-overhead", " --compile --mode max-autotune")
GROWS = 1.02  # a larger batch that gains less does not count as better
SLOWEST = 10  # ops of the table of what limits


class Session:
    """Where results go, and how much time there is."""

    def __init__(self, options):
        self.options, self.ends, self.lines = options, time.monotonic() + options.seconds, []
        os.makedirs(options.out, exist_ok=True)

    def over(self):
        return time.monotonic() >= self.ends

    def measure(self, command, **what):
        """Its JSON object, None when it failed or there is no time for it."""
        if self.over():
            return None
        print(f"  {command}", file=sys.stderr, flush=True)
        try:
            result = pair.measure(command, max(1, self.ends - time.monotonic()) + 60, what.pop("keys", pair.KEYS))
        except pair.BadCommand as error:
            print(f"  {error}", file=sys.stderr, flush=True)
            return None
        self.lines.append(dict(what, command=command, result=result))
        with open(os.path.join(self.options.out, "gpu.jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")
        return result


def ours(options, config, batch, verb="train", way="plain"):
    before, more = WAYS[way]
    return (f"{before}{shlex.quote(options.program)} bench {verb} --config {config} --precision {options.precision} "
            f"--device {options.device} --batch-size {batch} --steps {options.steps}{more} --json")


def theirs(options, config, batch, mode):
    return (f"{shlex.quote(options.peer)} {shlex.quote(ROOT)}/bench/torch_mae.py --config {config} --precision {options.precision} "
            f"--device {options.device} --batch-size {batch} --steps {options.steps}{mode}")


def grow(session, command_of, **what):
    """(batch, result) with the most pictures a second, None when no batch could be measured."""
    best = None
    for batch in session.options.batches:
        result = session.measure(command_of(batch), batch=batch, **what)
        if not result:
            break
        rate = batch / result["step_seconds_median"]
        if best and rate < GROWS * best[0] / best[1]["step_seconds_median"]:
            break
        best = (batch, result)
    return best


def gigabytes(result):
    return f"{result['peak_device_bytes'] / 1e9:.2f}" if result.get("peak_device_bytes") else "-"


def measure_devices(session, config, batch, count):
    """(pictures a second, share of the time that was spent waiting for pictures, what sums gradients); None when it could not be
    measured."""
    options, folder = session.options, os.path.join(session.options.out, f"{config}-devices-{count}")
    shutil.rmtree(folder, ignore_errors=True)
    result = session.measure(
        f"{shlex.quote(options.program)} pretrain {RECIPES[config]} --data world data.world_images={batch * count} data.val_share=0 "
        f"data.val_every=0 data.cache_mb=16384 schedule.batch_size={batch * count} run.device={options.device} "
        f"run.precision={options.precision} run.max_steps={options.steps} run.save_steps={options.steps} {options.settings} "
        f"--devices {count} --out {shlex.quote(folder)} --quiet --json",
        keys=("images_per_second",), kind="devices", config=config, batch=batch, devices=count)
    shutil.rmtree(os.path.join(folder, "checkpoints"), ignore_errors=True)
    if not result:
        return None
    with open(os.path.join(folder, "log.jsonl"), encoding="utf-8") as file:
        steps = [json.loads(line) for line in file]
    with open(os.path.join(folder, "environment.json"), encoding="utf-8") as file:
        sums = json.load(file).get("gradients", "-")
    steps = steps[len(steps) // 2:]
    return (statistics.median(step["images_per_second"] for step in steps),
            sum(step["data_wait"] for step in steps) / sum(step["seconds"] for step in steps), sums)


def devices_table(session, config, batch):
    """None when nothing was asked for or could be measured."""
    most, rows, one = session.options.devices, [], None
    counts = [2 ** i for i in range(most.bit_length()) if 2 ** i < most] + [most]
    for count in counts if most > 1 and config in RECIPES else []:
        found = measure_devices(session, config, batch, count)
        if not found:
            break
        one = one or found[0]
        rows.append([str(count), f"{found[0]:.0f}", f"{found[0] / one:.2f}", f"{100 * found[1]:.0f} %", found[2]])
    return table(["devices", "pictures a second", "times one device", "waited for pictures", "gradients summed by"], rows) if rows else None


def measure_config(session, config):
    """The row of a configuration, its table of ops and that of devices; None when it could not be measured."""
    options = session.options
    best = grow(session, lambda batch: ours(options, config, batch), kind="ours", config=config)
    if not best:
        return None
    batch, result = best
    fastest, gains, failed = "plain", {way: [] for way in WAYS if way != "plain"}, set()
    for _ in range(options.rounds):
        plain = None
        for way in WAYS:
            now = None if way in failed else session.measure(ours(options, config, batch, way=way), kind=way, config=config, batch=batch)
            if not now:
                failed.add(way)
                continue
            if way == "plain":
                plain = now
            elif plain:
                gains[way].append(plain["step_seconds_median"] / now["step_seconds_median"])
            if now["step_seconds_median"] < result["step_seconds_median"]:
                fastest, result = way, now
    ops = session.measure(ours(options, config, batch, "ops"), kind="ops", config=config, batch=batch, keys=("step_seconds_mean",))
    peak = ops["peak"]["bf16_gflops_per_second" if options.precision == "bf16" else "f32_gflops_per_second"] if ops else 0
    peer = [found + (mode,) for mode in MODES if options.peer
            for found in [grow(session, lambda batch: theirs(options, config, batch, mode), kind="theirs", config=config, mode=mode)]
            if found]
    devices = devices_table(session, config, batch)
    rate = batch / result["step_seconds_median"]
    row = [config, str(batch), f"{rate:.0f} ({fastest})", *(spread(gain) for gain in gains.values()),
           f"{result['gflops_per_second'] / 1e3:.1f}", f"{100 * result['gflops_per_second'] / peak:.0f} %" if peak else "-",
           gigabytes(result), "-", "-"]
    if peer:
        its_batch, its, mode = max(peer, key=lambda found: found[0] / found[1]["step_seconds_median"])
        row[-2:] = [f"{rate * its['step_seconds_median'] / its_batch:.2f}", f"{mode.strip() or 'eager'}, {its_batch}, {gigabytes(its)} GB"]
    return row, ops, devices


def ops_table(ops):
    slowest = sorted(ops["shapes"], key=lambda line: -line["seconds"])[:SLOWEST]
    return table(["op, and its sizes", "calls", "ms", "of the step", "bound by", "time at the peak, ms", "of the peak"],
                 [[f"{line['op']} {line['sizes']}".strip(), str(line["calls"]), f"{1e3 * line['seconds']:.3f}",
                   f"{100 * line['share']:.1f} %", line["limit"], f"{1e3 * line['floor_seconds']:.3f}",
                   f"{100 * line['peak_share']:.0f} %"] for line in slowest])


def write_page(options, rows, tables, device):
    parts = [f"Measured with bench/gpu.py on {device}, in {options.precision}; {options.steps} steps a run.\n",
             table(["configuration", "pictures a step", "pictures a second", "faster with --autotune", "faster with two lanes", "with both",
                    "TFLOP/s", "of the measured peak", "GPU memory, GB", "against PyTorch", "its mode, pictures a step, memory"], rows)]
    for config, batch, ops, devices in tables:
        if ops:
            peak = ops["peak"]
            parts.append(f"\n{config}: measured at most {peak['bf16_gflops_per_second'] / 1e3:.0f} TFLOP/s in bf16, "
                         f"{peak['f32_gflops_per_second'] / 1e3:.0f} in f32, {peak['memory_gbytes_per_second']:.0f} GB/s\n\n{ops_table(ops)}")
        if devices:
            parts.append(f"\n{config}: `pretrain {RECIPES[config]}`, {batch} pictures a step on each device\n\n{devices}")
    with open(os.path.join(options.out, "gpu.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")


def numbers(text):
    values = [int(value) for value in text.split(",")]
    if min(values) < 1:
        raise ValueError(text)
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", default="vit_b,vit_l,deepmim_b,cifar_p4")
    parser.add_argument("--batches", type=numbers, default=[64, 128, 256, 512, 1024, 2048], help="to be tried, the smallest first")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "f32"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=600, help="nothing new is begun later (default 600)")
    parser.add_argument("--devices", type=int, default=1, help="also measure training on up to N devices")
    parser.add_argument("--settings", default="", help="more words for lacuna pretrain, with --devices")
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "lacuna"))
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "gpu"))
    options = parser.parse_args()
    options.peer = os.environ.get("LACUNA_PEER_PYTHON")
    session = Session(options)
    rows, tables = [], []
    for config in options.configs.split(","):
        found = measure_config(session, config)
        if not found:
            continue
        row, ops, devices = found
        rows.append(row)
        tables.append((config, row[1], ops, devices))
        write_page(options, rows, tables, session.lines[0]["result"].get("device", options.device))
    if not rows:
        sys.exit("gpu.py: nothing could be measured")
    with open(os.path.join(options.out, "gpu.md"), encoding="utf-8") as file:
        print(file.read(), end="")


if __name__ == "__main__":
    main()
