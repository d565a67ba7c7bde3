"""What `lacuna export --format timm` writes, loaded by the real timm: the tokens of its example agree to 1e-5, for encoders of all
forms that can be exported; and the lines of README that use it run as they stand.

    python tests/oracle/timm_export.py build/lacuna
"""
import pathlib
import re
import subprocess
import sys
import tempfile

import timm
import torch
from safetensors.torch import load_file

program = pathlib.Path(sys.argv[1]).resolve()
source = pathlib.Path(__file__).resolve().parents[2]

BASE = """
image: {size: [32, 48], mean: [0.5, 0.4, 0.3], std: [0.3, 0.2, 0.1]}
data: {train: world, world_images: 64, val_share: 0, workers: 1}
encoder: {patch: 8, width: 48, depth: 3, heads: 3}
decoders: [{tap: 2, width: 16, depth: 1, heads: 2}, {tap: last, width: 16, depth: 1, heads: 2}]
schedule: {batch_size: 16, epochs: 2, warmup_epochs: 0, lr: 1e-2}
"""
VARIANTS = {
    "plain": [],
    "learned": ["encoder.position=learned"],
    "no_class": ["encoder.class_token=0", "encoder.position=none", "encoder.patch_bias=false"],
    "mask_token": ["encoder.input=mask_token", "encoder.qkv_bias=no_k", "encoder.layer_scale=0.1"],
    "no_bias": ["encoder.qkv_bias=false", "encoder.activation=quick_gelu", "encoder.mlp_ratio=2"],
    "clip": ["encoder.norm_pre=true", "encoder.patch_bias=false"],
}


def check(folder):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    example = load_file(folder / "example.safetensors")
    with torch.no_grad():
        tokens = model.forward_features(example["image"])
        pooled = model(example["image"])
    assert tokens.shape == example["tokens"].shape, (tokens.shape, example["tokens"].shape)
    error = ((tokens - example["tokens"]).abs().max() / example["tokens"].abs().max()).item()
    wanted = tokens[:, 0] if model.num_prefix_tokens else tokens.mean(1)
    assert torch.allclose(pooled, wanted, atol=1e-5), "timm pools otherwise"
    # What was learnt is there: a fresh network of the same shape gives something else.
    fresh = timm.create_model(f"local-dir:{folder}", pretrained=False).eval()
    with torch.no_grad():
        far = (fresh.forward_features(example["image"]) - tokens).abs().max().item()
    assert far > 0.1, far
    config = timm.data.resolve_model_data_config(model)
    assert tuple(config["mean"]) == (0.5, 0.4, 0.3) or config["mean"][0] == 0.5, config
    return error


def run_readme(folder):
    """The Python block of README that names timm, in a folder that holds what it names."""
    text = (source / "README.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "timm" in b]
    import numpy
    from PIL import Image

    pixels = numpy.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    done = subprocess.run([sys.executable, "-c", block + "\nprint(tuple(features.shape))\n"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("(1, 48)"), done.stdout


worst = 0.0
with tempfile.TemporaryDirectory() as work:
    work = pathlib.Path(work)
    (work / "base.yaml").write_text(BASE)
    for name, settings in VARIANTS.items():
        run, out = work / name, work / ("backbone" if name == "plain" else f"{name}-out")
        subprocess.run([program, "pretrain", work / "base.yaml", "--out", run, "--quiet", *settings], check=True)
        subprocess.run([program, "export", run, out], check=True, stdout=subprocess.DEVNULL)
        error = check(out)
        worst = max(worst, error)
        print(f"{name:12} largest error {error:.1e}")
        assert error < 1e-5, error
    run_readme(work)
    print("README's lines run")
