#!/usr/bin/env python3
"""Time an epoch of MAE pre-training in PyTorch on a folder of pictures, as people run it: torchvision's ImageFolder and transforms
in a DataLoader with workers, the step of torch_mae.py, its learning rate set each step as MAE's code does.

  torch_epoch.py --data DIR [--config cifar_p4] [--precision bf16] [--compile] [--workers N] [--steps N | --pictures N] [--device cuda]

One step on drawn numbers comes before the clock starts (compiling, first touch of memory); starting the workers counts.
Prints one JSON object:
  torch, config, precision, compiled, device, threads, workers, batch_size, parameters, steps, pictures, seconds, pictures_per_second,
  step_seconds (the list, waiting for pictures included), step_seconds_median, data_wait (seconds in all), peak_rss_bytes, loss_first, loss_last
"""
import argparse, json, math, os, resource, statistics, sys, time

import torch
from torchvision import datasets, transforms as T

from torch_mae import CONFIGS, MAE

MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]  # of CIFAR-10


def set_rate(opt, epoch, epochs=25, warmup=2, lr=1.5e-4, least=0.0):
    """MAE's: rises in the warm-up, then half a cosine."""
    rate = lr * epoch / warmup if epoch < warmup else \
        least + (lr - least) * 0.5 * (1.0 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))
    for group in opt.param_groups:
        group["lr"] = rate


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True, help="a folder with a folder of pictures for each class")
    ap.add_argument("--config", choices=CONFIGS, default="cifar_p4")
    ap.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    ap.add_argument("--compile", action="store_true")
    ap.add_argument("--mode", default="default", help="of torch.compile")
    ap.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--steps", type=int, help="stop after so many (default: the epoch)")
    ap.add_argument("--pictures", type=int, help="stop after so many, in whole batches")
    ap.add_argument("--batch-size", type=int)
    ap.add_argument("--threads", type=int)
    ap.add_argument("--device", default="cpu")
    a = ap.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    c = dict(CONFIGS[a.config])
    if a.batch_size:
        c["batch"] = a.batch_size
    torch.manual_seed(0)
    m = MAE(**c).to(a.device)
    decay = [p for p in m.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in m.parameters() if p.requires_grad and p.ndim <= 1]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=0.05), dict(params=plain, weight_decay=0.0)],
                            lr=1.5e-4, betas=(0.9, 0.95), fused=True)
    params = decay + plain
    transform = T.Compose([T.RandomResizedCrop(c["image"], scale=(0.2, 1.0), interpolation=T.InterpolationMode.BICUBIC),
                           T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)])
    loader = torch.utils.data.DataLoader(datasets.ImageFolder(a.data, transform), batch_size=c["batch"], shuffle=True,
                                         num_workers=a.workers, drop_last=True, pin_memory=a.device != "cpu")
    last = len(loader)
    if a.pictures:
        last = min(last, max(1, a.pictures // c["batch"]))
    if a.steps:
        last = min(last, a.steps)
    if last < 1:
        sys.exit(f"torch_epoch.py: {a.data} does not fill one batch of {c['batch']}")
    f = torch.compile(m, mode=a.mode) if a.compile else m
    sync = torch.cuda.synchronize if a.device != "cpu" else (lambda: None)
    tokens = (c["image"] // c["patch"]) ** 2

    def step(im):
        noise = torch.rand(im.shape[0], tokens, device=a.device)
        with torch.autocast(torch.device(a.device).type, torch.bfloat16, enabled=a.precision == "bf16"):
            loss = f(im, noise)
        value = float(loss.detach())  # MAE's loop looks at each loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 3.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        return value

    set_rate(opt, 0)
    step(torch.randn(c["batch"], 3, c["image"], c["image"], device=a.device))
    sync()
    losses, times, waited = [], [], 0.0
    start = before = time.perf_counter()
    for i, (im, _) in enumerate(loader):
        waited += time.perf_counter() - before
        set_rate(opt, i / len(loader))
        losses.append(step(im.to(a.device, non_blocking=True)))
        sync()
        now = time.perf_counter()
        times.append(now - before)
        before = now
        if i + 1 == last:
            break
    seconds = before - start
    json.dump(dict(torch=torch.__version__, config=a.config, precision=a.precision, compiled=a.mode if a.compile else False, device=a.device,
                   threads=torch.get_num_threads(), workers=a.workers, batch_size=c["batch"], parameters=sum(p.numel() for p in params),
                   steps=last, pictures=last * c["batch"], seconds=seconds, pictures_per_second=last * c["batch"] / seconds,
                   step_seconds=times, step_seconds_median=statistics.median(times), data_wait=waited,
                   peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                   loss_first=losses[0], loss_last=losses[-1]), sys.stdout)
    print()
    sys.stdout.flush()
    os._exit(0)  # a loader that is left in the middle would first finish what its workers prepare


if __name__ == "__main__":
    main()
