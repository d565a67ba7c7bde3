"""The made part of docs/performance.md: tables from the results that performance.py keeps. What stands outside of the marks of
this machine, written by hand or made on another machine, is left as it is."""
import os
import statistics

PRODUCTS = ("linear", "linear_dx", "linear_dw")
LOSERS = 3  # lines of a configuration in the table of what limits


def scouted(results, config):
    """mode -> result of a step of theirs, of the modes that ran."""
    lines = results.find(ours=False, kind="scout", config=config)
    return {line["mode"]: line["result"] for line in lines if line["result"]}


def fastest(result):
    """Seconds of its fastest step: a single round is not protected from what else the machine did meanwhile."""
    return min(result.get("step_seconds") or [result["step_seconds_median"]])


def best_mode(modes):
    return min(modes, key=lambda mode: fastest(modes[mode])) if modes else None


def spread(values, digits=2):
    values = list(values)
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def without_empty(head, rows):
    """The table without the columns that are empty in every row."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]


def command(text):
    return f"    {text}"


class Rounds:
    """The latest set of rounds of a configuration: those with the most steps and the same runs as the last one."""

    def __init__(self, results, config):
        lines = results.find(kind="round", config=config)
        last = lines[-1] if lines else None
        self.lines = [l for l in lines if l["order"] == last["order"] and l["steps"] == last["steps"]] if last else []
        self.last = last

    def __bool__(self):
        return bool(self.lines)

    def ratios(self, ours, theirs, key="step_seconds_median", turned=False):
        """theirs / ours of each round, or turned ours / theirs."""
        pairs = [(l["runs"][ours][key], l["runs"][theirs][key]) for l in self.lines if ours in l["runs"] and theirs in l["runs"]]
        return [a / b if turned else b / a for a, b in pairs]

    def median(self, run, key):
        return statistics.median(l["runs"][run][key] for l in self.lines)

    def has(self, run):
        return run in self.last["runs"]


def times(results, configs):
    rows, steps, counts = [], set(), set()
    for config in configs:
        r = Rounds(results, config)
        if not r:
            continue
        steps.add(r.last["steps"])
        counts.add(len(r.lines))
        best, best_f32 = "theirs " + r.last["best"], "theirs " + r.last["best_f32"]
        bf16 = r.has("ours bf16")
        ours = "ours bf16" if bf16 else "ours f32"
        f32 = r.ratios("ours f32", best_f32)
        rows.append([config, ours[5:], spread(r.ratios(ours, best)), r.last["best"]] +
                    ([spread(f32), r.last["best_f32"]] if f32 else ["", ""]) +
                    [f"{r.median(ours, 'step_seconds_median'):.3f}", f"{r.median(best, 'step_seconds_median'):.3f}"])
    if not rows:
        return ""
    step = max(steps)
    return "\n".join([
        "### Time of a step",
        f"Theirs / ours: above 1 ours is faster; median (smallest-largest) of {min(counts)} or more rounds in turn, each the median of {step} "
        "steps behind 2.", "",
        table(*without_empty(["configuration", "ours", "theirs / ours", "their best mode", "f32 against their best f32", "that mode",
                              "ours, s", "theirs, s"], rows)),
        "", command(f"build/lacuna bench train --config NAME --precision P --steps {step} --warmup 2 --json"),
        command(f"PYTHON bench/torch_mae.py --config NAME --precision P [--compile] --steps {step} --warmup 2")])


def modes(results, configs):
    rows, names = [], ["f32 eager", "f32 compiled", "bf16 eager", "bf16 compiled"]
    torch = ""
    for config in configs:
        found = scouted(results, config)
        if found:
            rows.append([config] + [f"{fastest(found[m]):.3f}" if m in found else "-" for m in names])
            torch = next((r["torch"] for r in found.values() if r.get("torch")), torch)
    if not rows:
        return ""
    return "\n".join(["### Their modes", f"Seconds of a step of PyTorch {torch}, the round that picks the best: the fastest of 3 steps behind 2, since a single round is not protected from what else the machine did."
                      .replace("  ", " "), "", table(["configuration"] + names, rows), "",
                      command("PYTHON bench/torch_mae.py --config NAME --precision P [--compile] --steps 3 --warmup 2")])


def shares(results, configs):
    rows, steps, peaks = [], 5, None
    for config in configs:
        lines = {line["precision"]: line for line in results.find(kind="ops", config=config)}
        for precision, line in lines.items():
            r, steps = line["result"], line["steps"]
            ops = {op["op"]: op for op in r["ops"]}
            peak, peaks = r["peak"], r["peak"]
            yardstick = peak["bf16_gflops_per_second"] if precision == "bf16" and peak["bf16_gflops_per_second"] else peak["f32_gflops_per_second"]
            rows.append([config, precision, f"{r['gflops_per_second']:.0f}", f"{yardstick:.0f}", f"{100 * r['gflops_per_second'] / yardstick:.0f} %"]
                        + [f"{100 * ops[p]['gflops_per_second'] / yardstick:.0f} %" if p in ops else "-" for p in PRODUCTS]
                        + [f"{100 * sum(ops[p]['share'] for p in PRODUCTS if p in ops):.0f} %"])
    if not rows:
        return ""
    return "\n".join([
        "### Share of the peak",
        "GFLOP/s of the whole step and of its three products, as shares of what the machine multiplies and adds at most (f32 multiply-adds, or bf16 dot "
        f"products), measured before and after the same steps on all threads; memory moves {peaks['memory_gbytes_per_second']:.0f} GB/s at most.", "",
        table(["configuration", "ours", "step, GFLOP/s", "peak", "step", *PRODUCTS, "products' share of the time"], rows), "",
        command(f"build/lacuna bench ops --config NAME --precision P --steps {steps} --warmup 2 --json")])


def memory(results, configs):
    rows = []
    for config in configs:
        r, found = Rounds(results, config), scouted(results, config)
        if not r:
            continue
        best = "theirs " + r.last["best"]
        leanest = min(found, key=lambda m: found[m]["peak_rss_bytes"]) if found else None
        for run in ("ours bf16", "ours f32"):
            if not r.has(run):
                continue
            mine = r.median(run, "peak_rss_bytes")
            rows.append([config, run[5:], f"{mine / 1e6:.0f}", f"{r.median(best, 'peak_rss_bytes') / 1e6:.0f}",
                         spread(r.ratios(run, best, "peak_rss_bytes", turned=True)),
                         f"{mine / found[leanest]['peak_rss_bytes']:.2f} ({leanest})" if leanest else "-"])
    if not rows:
        return ""
    return "\n".join(["### Peak memory", "Largest resident set of the same runs, ours / theirs: below 1 ours needs less.", "",
                      table(["configuration", "ours", "ours, MB", "their best mode, MB", "ours / theirs", "ours / their leanest mode"], rows)])


def threads(results, configs):
    rows, steps = [], 5
    for config in configs:
        for precision in ("bf16", "f32"):
            lines = results.find(kind="scaling", config=config, precision=precision)
            lines = [l for l in lines if l["steps"] == lines[-1]["steps"]]
            if lines:
                steps = lines[-1]["steps"]
                seconds = [[run["step_seconds_median"] for run in line["runs"]] for line in lines]
                rows.append([config, precision, f"{statistics.median(s[0] for s in seconds):.3f}",
                             f"{statistics.median(s[1] for s in seconds):.3f}", spread(s[0] / s[1] for s in seconds)])
    if not rows:
        return ""
    return "\n".join(["### One thread and two", "In turn; median (smallest-largest) of the ratios.", "",
                      table(["configuration", "ours", "1 thread, s", "2 threads, s", "1 / 2"], rows), "",
                      command(f"build/lacuna bench train --config NAME --precision P --threads 1|2 --steps {steps} --warmup 2 --json")])


def whole_training(results, _):
    rows, steps, count = [], 0, 0
    for precision in ("bf16", "f32"):
        lines = results.find(kind="epoch", precision=precision)
        lines = [l for l in lines if l["steps"] == lines[-1]["steps"] and l["mode"] == lines[-1]["mode"]]
        if not lines:
            continue
        steps, count = lines[-1]["steps"], len(lines)
        ours = [l["runs"]["ours"] for l in lines]
        speed = [o["pictures_per_second"] for o in ours]
        theirs = [l["runs"]["theirs"]["pictures_per_second"] for l in lines]
        alone = [l["runs"]["alone"]["images_per_second"] for l in lines]
        rows.append([precision, f"{statistics.median(speed):.0f}", spread(a / b for a, b in zip(speed, theirs)), lines[-1]["mode"],
                     spread(a / b for a, b in zip(speed, alone)),
                     f"{100 * statistics.median(o['data_wait'] / o['seconds'] for o in ours):.2f} %",
                     f"{statistics.median(o['start_seconds'] for o in ours):.2f}"])
    if not rows:
        return ""
    return "\n".join([
        "### Whole training, from files",
        f"`lacuna pretrain mae-cifar10` beside a PyTorch epoch with a DataLoader on the same files, and beside the step alone; {count} rounds in turn of "
        f"{steps} steps. *First step after*: seconds from the start, list and statistics of the pictures kept from an earlier run.", "",
        table(["ours", "pictures a second", "ours / theirs", "their mode", "ours / the step alone", "waiting for pictures", "first step after, s"], rows),
        "", command(f"LACUNA_PEER_PYTHON=PYTHON bench/epoch.py --data CIFAR/train --steps {steps} --precision P [--theirs '--compile']")])


LOADER = "### Loading pictures"


def loader(results, _=None):
    lines = results.find(kind="loader")
    lines = [l for l in lines if l["seconds"] == lines[-1]["seconds"]]
    if not lines:
        return ""
    last, rows = lines[-1]["runs"]["ours"], []
    for side, looks in (("ours", "all but each file's first"), ("ours, first pass", "each file's first (`--first-pass`)")):
        both = [(l["runs"][side]["pictures_per_second"], l["runs"]["theirs"]["pictures_per_second"]) for l in lines
                if side in l["runs"]]
        if both:
            ours, theirs = zip(*both)
            rows.append([looks, f"{statistics.median(ours):.0f}", f"{statistics.median(theirs):.0f}",
                         spread(a / b for a, b in both)])
    return "\n".join([
        LOADER,
        f"Pictures a second of one worker, from JPEG files to normalised tensors of {last['size']} x {last['size']}: cropped to a fifth up to the whole of the area, resized (bicubic, "
        "Pillow's bytes), flipped. Neither side decodes at a reduced scale. When it meets a file first ours decodes all of it; later it stops behind the crop and leaves away what lies "
        f"beside it. Pillow decodes all of it each time. Beside one process of torchvision and Pillow on the same {last['files']} files; {len(lines)} rounds in turn of {lines[-1]['seconds']} s.", "",
        table(["looks at a file", "ours", "theirs", "ours / theirs"], rows), "",
        command(f"build/lacuna bench data --data DIR --seconds {lines[-1]['seconds']} --json [--first-pass]"),
        command(f"PYTHON bench/torch_data.py --dir DIR --seconds {lines[-1]['seconds']}")])


def limits(results, configs):
    rows = []
    for config in configs:
        lines = {line["precision"]: line for line in results.find(kind="ops", config=config)}
        for precision, line in lines.items():
            r = line["result"]
            above = sorted(r["ops"], key=lambda op: op["floor_seconds"] - op["seconds"])[:LOSERS]
            rows.append([config, precision, f"{100 * r['peak_share']:.0f} %", ", ".join(
                f"{op['op']} {100 * (op['seconds'] - op['floor_seconds']) / r['step_seconds_mean']:.0f} % ({op['limit']}, {100 * op['peak_share']:.0f} % of its peak)"
                for op in above)])
    if not rows:
        return ""
    return "\n".join([
        "### What limits",
        "The floor of an op is the longer of its arithmetic at the peak and its unavoidable bytes at the memory's best rate. *Floor* is the sum of floors as a share of the step; "
        "then the ops with most time above their floors, as shares of the step. Same command as for the shares of the peak; without `--json` it prints each op and size.",
        "", table(["configuration", "ours", "floor", "time above the floor"], rows)])


def made(results, configs):
    parts = [part(results, configs) for part in (times, shares, memory, threads, whole_training, loader, limits, modes)]
    return "\n\n".join([f"## {results.machine}"] + [part for part in parts if part])


def marks(results):
    return f"<!-- made by ./dev bench on {results.machine} -->", f"<!-- end of {results.machine} -->"


def read_part(path, results):
    """The page before this machine's part, that part without its marks ("" when there is none yet), and what is behind."""
    begin, end = marks(results)
    text = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
    if begin in text and end in text[text.index(begin):]:
        start = text.index(begin)
        stop = text.index(end, start)
        return text[:start], text[start + len(begin):stop].strip("\n"), text[stop + len(end):]
    return text.rstrip("\n") + "\n\n" if text else "", "", "\n"


def write_part(path, results, before, part, behind):
    begin, end = marks(results)
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{part}\n{end}{behind}")
    os.replace(path + ".part", path)


def loader_section(part):
    """Where the loader's section begins and ends in a part; two equal places where it would go when it is not there."""
    start = part.find(LOADER)
    if start < 0:
        start = part.find("### What limits")
        return (len(part), len(part)) if start < 0 else (start, start)
    stop = part.find("\n### ", start)
    return start, len(part) if stop < 0 else stop + 1


def write_loader(path, results):
    """Writes the loader's section alone. Without results nothing is touched."""
    section = loader(results)
    if section:
        before, part, behind = read_part(path, results)
        part = part or f"## {results.machine}"
        start, stop = loader_section(part)
        pieces = [part[:start].rstrip("\n"), section, part[stop:].strip("\n")]
        write_part(path, results, before, "\n\n".join(piece for piece in pieces if piece), behind)


def write(path, results, configs):
    """Puts this machine's part between its marks, or at the end when there is none yet; a loader's section that was not measured
    anew stays. Without results nothing is touched."""
    if not any(Rounds(results, config) for config in configs):
        return
    before, old, behind = read_part(path, results)
    part = made(results, configs)
    start, stop = loader_section(old)
    if start < stop and not loader(results):
        at = loader_section(part)[0]
        pieces = [part[:at].rstrip("\n"), old[start:stop].strip("\n"), part[at:].strip("\n")]
        part = "\n\n".join(piece for piece in pieces if piece)
    write_part(path, results, before, part, behind)
