#!/usr/bin/env python3
"""Measure this machine and write its part of docs/performance.md: ./dev bench does it all.

  LACUNA_PEER_PYTHON=PYTHON performance.py [--configs cifar_p4,vit_s] [--rounds N] [--steps N] [--data CIFAR/train]
                                           [--photos DIR] [--results FILE] [--page FILE]
  LACUNA_PEER_PYTHON=PYTHON performance.py --only-loader --photos DIR [--rounds N]

For each configuration PyTorch's modes are tried once and its best is taken: eager or compiled, f32, and bf16 where the processor
multiplies it natively. Then ours and theirs run in turn, at least five times, in f32 against their best f32 mode and in bf16
(where native) against their best of all. `lacuna bench ops` gives shares of the peak; one thread and two run in turn. With --data,
a folder of CIFAR-10's pictures, whole training runs in turn too, an epoch a run (epoch.py; --epoch-steps shortens it). With --photos,
a folder of pictures, one worker of the loader and one of torchvision's run in turn; --only-loader does nothing else and leaves the
other sections of the page as they are.

Every result is added to FILE (default build/performance.jsonl) as soon as it is there, and what is there already is not measured
again, so an interrupted run goes on, and configurations can be measured one after the other. Results of another processor, of
another build of the program or with other steps are passed over. --only-page writes the page from what FILE holds.
Exits 1 when a measurement of ours fails, 2 on wrong usage.
"""
import argparse
import hashlib
import json
import os
import shlex
import sys

import epoch
import page
import pair

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIGS = ("cifar_p4", "cifar_p2", "vit_s", "deepmim_s", "vit_b", "dbot_s", "simmim_s")
SCALED = ("cifar_p4", "vit_s")
MODES = {"f32 eager": "--precision f32", "f32 compiled": "--precision f32 --compile",
         "bf16 eager": "--precision bf16", "bf16 compiled": "--precision bf16 --compile"}
KEPT = ("step_seconds_median", "step_seconds", "peak_rss_bytes", "threads", "gflops_per_second", "torch")
SCOUT_STEPS = 3


def cpu_flags():
    """The processor's features as Linux names them, and what tells one model from another that bears the same name."""
    flags, numbers = set(), {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == "flags":
                    flags = set(value.split())
                elif key.strip() in ("cpu family", "model"):
                    numbers[key.strip()] = value.strip()
    except OSError:
        pass
    return flags, numbers


def machine_name():
    flags, numbers = cpu_flags()
    cores = len(os.sched_getaffinity(0))
    best = next((name for flag, name in (("amx_bf16", "AMX bf16"), ("avx512_bf16", "AVX-512 with bf16"), ("avx512f", "AVX-512"),
                                         ("avx2", "AVX2")) if flag in flags), "no AVX2")
    model = f" (family {numbers['cpu family']}, model {numbers['model']})" if len(numbers) == 2 else ""
    return f"{pair.processor_name()}{model}, {best}, {cores} core{'s' if cores > 1 else ''}"


def native_bf16():
    return bool(cpu_flags()[0] & {"avx512_bf16", "amx_bf16"})


def digest(path):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()[:16]
    except OSError as error:
        sys.exit(f"performance.py: {error}")


class Results:
    """The file of results: one JSON object a line."""

    def __init__(self, path, machine, program):
        self.path, self.machine, self.program, self.lines = path, machine, program, []
        self.cut = False  # the last line is, because a run was stopped while it wrote
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                for line in file:
                    self.cut = not line.endswith("\n")
                    try:
                        self.lines.append(json.loads(line))
                    except ValueError:
                        pass

    def add(self, **line):
        line = dict(line, machine=self.machine, program=self.program)
        self.lines.append(line)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(("\n" if self.cut else "") + json.dumps(line) + "\n")
        self.cut = False

    def find(self, ours=True, **keys):
        """What this machine measured, with this build of the program where ours is concerned; the latest last."""
        return [line for line in self.lines if line["machine"] == self.machine and
                (not ours or line["program"] == self.program) and all(line.get(k) == v for k, v in keys.items())]


def tell(text):
    print(text, file=sys.stderr, flush=True)


def measure(command, timeout, keys=pair.KEYS):
    tell(f"  {command}")
    return pair.measure(command, timeout, keys)


def kept(result):
    return {key: result[key] for key in KEPT if key in result}


def their_command(options, config, mode, steps):
    return f"{shlex.quote(options.peer)} {shlex.quote(ROOT)}/bench/torch_mae.py --config {config} {MODES[mode]} --steps {steps} --warmup 2"


def our_command(options, config, precision, more=""):
    return (f"{shlex.quote(options.program)} bench train --config {config} --precision {precision} --steps {options.steps} "
            f"--warmup 2{more} --json")


def our_precisions(options):
    """bf16 where the processor has it and the program carries it out, and f32."""
    if not native_bf16():
        return ["f32"]
    try:
        pair.measure(f"{shlex.quote(options.program)} bench train --config cifar_p4 --precision bf16 --batch-size 1 --steps 1 "
                     "--warmup 0 --json", options.timeout)
    except pair.BadCommand:
        tell("the program does not carry out bf16 yet: f32 only")
        return ["f32"]
    return ["f32", "bf16"]


def scout(results, options, config):
    """Seconds of a step in each of their modes; what is missing is measured. A mode that fails is left out, and said."""
    for mode in MODES:
        if mode.startswith("bf16") and not native_bf16():
            continue
        if results.find(ours=False, kind="scout", config=config, mode=mode):
            continue
        try:
            result = kept(measure(their_command(options, config, mode, SCOUT_STEPS), options.timeout))
        except pair.BadCommand as error:
            tell(f"  their {mode} is left out: {error}")
            result = None
        results.add(kind="scout", config=config, mode=mode, result=result)
    return page.scouted(results, config)


def compare(results, options, config, precisions):
    modes = scout(results, options, config)
    if not modes:
        sys.exit(f"performance.py: PyTorch runs {config} in none of its modes; see what it said above")
    best = page.best_mode(modes)
    best_f32 = page.best_mode({mode: result for mode, result in modes.items() if mode.startswith("f32")}) or best
    order = [("ours", "f32"), ("theirs", best_f32)] if "f32" in precisions else []
    if "bf16" in precisions:
        order.append(("ours", "bf16"))
    if ("theirs", best) not in order:
        order.append(("theirs", best))
    for number in range(1, options.rounds + 1):
        if results.find(kind="round", config=config, round=number, steps=options.steps, order=[f"{a} {b}" for a, b in order]):
            continue
        tell(f"{config}, round {number} of {options.rounds}")
        runs = {}
        for side, what in order:
            command = our_command(options, config, what) if side == "ours" else their_command(options, config, what, options.steps)
            runs[f"{side} {what}"] = kept(measure(command, options.timeout))
        results.add(kind="round", config=config, round=number, steps=options.steps, order=list(runs), best=best,
                    best_f32=best_f32, runs=runs)


def look_inside(results, options, config, precisions):
    for precision in precisions:
        if results.find(kind="ops", config=config, precision=precision, steps=options.steps):
            continue
        command = (f"{shlex.quote(options.program)} bench ops --config {config} --precision {precision} --steps {options.steps} "
                   "--warmup 2 --json")
        result = measure(command, options.timeout, ("step_seconds_mean", "floor_seconds"))
        result.pop("shapes", None)
        results.add(kind="ops", config=config, precision=precision, steps=options.steps, result=result)


def scale(results, options, config, precisions):
    if len(os.sched_getaffinity(0)) < 2:
        return
    for precision in precisions:
        for number in range(1, options.rounds + 1):
            keys = dict(kind="scaling", config=config, precision=precision, round=number, steps=options.steps)
            if results.find(**keys):
                continue
            runs = [kept(measure(our_command(options, config, precision, f" --threads {threads}"), options.timeout))
                    for threads in (1, 2)]
            results.add(**keys, runs=runs)


def end_to_end(results, options, precisions):
    modes = scout(results, options, "cifar_p4")
    best, best_f32 = page.best_mode(modes), page.best_mode({m: r for m, r in modes.items() if m.startswith("f32")})
    warm = False
    for precision in precisions:
        mode = best if precision == "bf16" else best_f32
        if not mode:
            continue
        run = argparse.Namespace(program=options.program, data=options.data, precision=precision, ours="", theirs=MODES[mode],
                                 peer=options.peer)
        for number in range(1, options.rounds + 1):
            keys = dict(kind="epoch", precision=precision, mode=mode, round=number, steps=options.epoch_steps)
            if results.find(**keys):
                continue
            if not warm:  # the caches of the pictures' list and statistics, which people make once
                epoch.run_ours(run, 1)
                warm = True
            tell(f"epoch, {precision} beside their {mode}, round {number} of {options.rounds}")
            runs = epoch.one_round(run, options.epoch_steps)
            results.add(**keys, runs=runs)


def load_pictures(results, options):
    photos = shlex.quote(options.photos)
    for number in range(1, options.rounds + 1):
        keys = dict(kind="loader", round=number, seconds=options.loader_seconds)
        if results.find(**keys):
            continue
        tell(f"loader, round {number} of {options.rounds}")
        ours = f"{shlex.quote(options.program)} bench data --data {photos} --seconds {options.loader_seconds} --json"
        commands = {"ours": ours,
                    "theirs": f"{shlex.quote(options.peer)} {shlex.quote(ROOT)}/bench/torch_data.py --dir {photos} "
                              f"--seconds {options.loader_seconds}",
                    "ours, first pass": ours + " --first-pass"}
        runs = {side: measure(command, options.timeout, ("pictures_per_second",)) for side, command in commands.items()}
        results.add(**keys, runs=runs)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--configs", default=",".join(CONFIGS), help="separated by commas (default: %(default)s)")
    parser.add_argument("--precisions", default="f32,bf16", help="of ours; bf16 only where native (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="measured in each run, behind two that are not")
    parser.add_argument("--data", help="the folder of CIFAR-10's training pictures, for whole training (default: left out)")
    parser.add_argument("--epoch-steps", type=int, default=50000 // epoch.BATCH, help="of whole training (default: an epoch)")
    parser.add_argument("--photos", help="a folder of pictures, for the loader (default: left out)")
    parser.add_argument("--loader-seconds", type=int, default=10, help="of one run of the loader (default: %(default)s)")
    parser.add_argument("--only-loader", action="store_true", help="measure the loader alone, keep the rest of the page")
    parser.add_argument("--results", default=os.path.join(ROOT, "build", "performance.jsonl"))
    parser.add_argument("--page", default=os.path.join(ROOT, "docs", "performance.md"))
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "lacuna"))
    parser.add_argument("--timeout", type=float, default=3600, help="seconds that one run may take (default: an hour)")
    parser.add_argument("--only-page", action="store_true", help="measure nothing, write the page")
    options = parser.parse_args()
    options.configs = [name for name in options.configs.split(",") if name]
    options.peer = os.environ.get("LACUNA_PEER_PYTHON", "")
    if not options.peer and not options.only_page:
        parser.error("LACUNA_PEER_PYTHON names the Python that has PyTorch (bench/README.md)")
    if min(options.rounds, options.steps, options.epoch_steps, options.loader_seconds) < 1:
        parser.error("--rounds, --steps, --epoch-steps and --loader-seconds must be at least 1")
    if options.only_loader and not options.photos and not options.only_page:
        parser.error("--only-loader wants --photos DIR, a folder of pictures")
    if options.rounds < 5 or options.steps < 5:
        tell("fewer than five rounds of five steps prove nothing: take this for a trial")
    return options


def main():
    options = read_options()
    results = Results(options.results, machine_name(), digest(options.program))
    try:
        if options.photos and not options.only_page:
            load_pictures(results, options)
        if options.only_loader:
            page.write_loader(options.page, results)
            tell(f"{options.page} is written")
            return
        if not options.only_page:
            precisions = [p for p in our_precisions(options) if p in options.precisions.split(",")]
            if not precisions:
                sys.exit(f"performance.py: --precisions {options.precisions} names none that runs natively here")
            for config in options.configs:
                compare(results, options, config, precisions)
                look_inside(results, options, config, precisions)
                if config in SCALED:
                    scale(results, options, config, precisions)
                page.write(options.page, results, CONFIGS)
            if options.data:
                end_to_end(results, options, precisions)
    except pair.BadCommand as error:
        sys.exit(f"performance.py: {error}")
    page.write(options.page, results, CONFIGS)
    tell(f"{options.page} is written")


if __name__ == "__main__":
    main()
