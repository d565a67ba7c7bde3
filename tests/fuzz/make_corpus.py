"""Writes the seeds of the fuzz corpus: small files of every kind that is read. Inputs that fuzzing has found lie beside them
under names of their own (found-*). Needs Pillow, and PyTorch for its files.

    python3 tests/fuzz/make_corpus.py
"""
import argparse
import collections
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

from PIL import Image

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def put(target, name, data):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    with open(os.path.join(HERE, target, name), "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def picture(mode, height=19, width=23):
    image = Image.new("RGB", (width, height))
    image.putdata([(7 * x + y, 11 * y, (x * y) % 256) for y in range(height) for x in range(width)])
    return image.convert(mode)


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(kind):
    """Stored lying, with a tag that says so."""
    exif = Image.Exif()
    exif[271], exif[274] = "maker", 6
    return encoded(picture("RGB"), kind, exif=exif)


def jpeg():
    put("jpeg", "turned.jpg", turned("JPEG"))
    for name, mode, options in [("rgb", "RGB", {"quality": 60}), ("grey", "L", {}), ("cmyk", "CMYK", {"quality": 50}),
                                ("progressive", "RGB", {"progressive": True}), ("restart", "RGB", {"restart_marker_blocks": 1}),
                                ("full", "RGB", {"subsampling": 0, "quality": 95}),
                                ("comment", "L", {"comment": b"\xff\xda a comment"})]:
        put("jpeg", name + ".jpg", encoded(picture(mode), "JPEG", **options))
    # A file that ends with its third of ten scans: what is missing is guessed from the blocks around.
    whole = encoded(picture("RGB", 64, 96), "JPEG", progressive=True)
    starts = [i for i in range(len(whole) - 1) if whole[i:i + 2] == b"\xff\xda"]
    end = next(i for i in range(starts[2] + 14, len(whole)) if whole[i] == 255 and whole[i + 1] != 0)
    put("jpeg", "first-scans.jpg", whole[:end] + b"\xff\xd9")


def png():
    put("png", "turned.png", turned("PNG"))
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1"):
        put("png", mode.lower() + ".png", encoded(picture(mode), "PNG"))
    deep = Image.new("I;16", (9, 7))
    deep.putdata([997 * i for i in range(63)])
    put("png", "deep.png", encoded(deep, "PNG"))


def webp():
    put("webp", "turned.webp", turned("WEBP"))
    put("webp", "lossy.webp", encoded(picture("RGB"), "WEBP", quality=50))
    put("webp", "lossless.webp", encoded(picture("RGB"), "WEBP", lossless=True))
    put("webp", "alpha.webp", encoded(picture("RGBA"), "WEBP", quality=50))
    put("webp", "film.webp", encoded(picture("RGB"), "WEBP", save_all=True, append_images=[picture("L").convert("RGB")]))


def raw_tiff(order, big, entries, data):
    """A TIFF or BigTIFF with one directory; `entries`: (tag, type 3 or 4, values); data goes behind it, at @ in values."""
    size = 8 if big else 4
    head = {"<": b"II", ">": b"MM"}[order]
    head += struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    count = struct.pack(order + ("Q" if big else "H"), len(entries))
    place = len(head) + len(count) + len(entries) * (20 if big else 12) + size
    table, extra = b"", b""
    total = sum(len(v) * {3: 2, 4: 4}[t] for _, t, v in entries if len(v) * {3: 2, 4: 4}[t] > size)
    for tag, kind, values in entries:
        values = [place + total + int(v[1:]) if isinstance(v, str) else v for v in values]
        body = struct.pack(order + str(len(values)) + {3: "H", 4: "I"}[kind], *values)
        table += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, len(values))
        if len(body) <= size:
            table += body.ljust(size, b"\0")
        else:
            table += struct.pack(order + ("Q" if big else "I"), place + len(extra))
            extra += body
    return head + count + table + bytes(size) + extra + data


def tiff():
    put("tiff", "turned.tif", turned("TIFF"))
    put("tiff", "no-entries.tif", b"II*\0\x08\0\0\0" + bytes(8))
    put("tiff", "float.tif", encoded(picture("L").convert("F"), "TIFF"))
    put("tiff", "five.tif", raw_tiff("<", False, [(256, 4, [6]), (257, 4, [5]), (258, 3, [16] * 5), (259, 3, [1]), (262, 3, [1]),
                                                  (273, 4, ["@0", "@120", "@240"]), (277, 3, [5]), (278, 4, [2]), (279, 4, [120, 120, 60]),
                                                  (338, 3, [0] * 4)], bytes(range(150)) * 2))
    for name, mode, options in [("raw", "RGB", {}), ("lzw", "RGB", {"compression": "tiff_lzw"}),
                                ("deflate", "L", {"compression": "tiff_adobe_deflate"}),
                                ("packbits", "RGBA", {"compression": "packbits"}), ("jpeg", "RGB", {"compression": "jpeg"}),
                                ("palette", "P", {})]:
        put("tiff", name + ".tif", encoded(picture(mode), "TIFF", **options))
    deep = Image.new("I;16", (9, 7))
    deep.putdata([997 * i for i in range(63)])
    put("tiff", "deep.tif", encoded(deep, "TIFF"))
    tile = bytes(range(256))
    put("tiff", "tiles.tif", raw_tiff("<", True, [(256, 4, [20]), (257, 4, [17]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]),
                                                  (277, 3, [1]), (322, 3, [16]), (323, 3, [16]),
                                                  (324, 4, ["@0", "@256", "@512", "@768"]), (325, 4, [256] * 4)], 4 * tile))
    put("tiff", "planes.tif", raw_tiff(">", False, [(256, 4, [8]), (257, 4, [4]), (258, 3, [8, 8, 8]), (259, 3, [1]),
                                                    (262, 3, [2]), (273, 4, ["@0", "@32", "@64"]), (277, 3, [3]),
                                                    (278, 4, [4]), (279, 4, [32] * 3), (284, 3, [2])], tile[:96]))


def lists():
    put("list", "names.csv", "\ufeffpath,label\r\na/1.jpg,cat\r\n\"b, \"\"2\"\".png\",dog\n\nc.tif,cat\n")
    put("list", "numbers.csv", "a.jpg,0\nb.jpg,12\nc.jpg,0912\n")
    put("list", "plain.csv", "path\na.jpg\nb.jpg")
    put("list", "broken.csv", "a.jpg,1\nb.jpg\n\"c,2\nd\"x,3\n,\n")


def cifar():
    record = bytes(i % 251 for i in range(3072))
    put("cifar", "ten.bin", b"\0\x07" + record)
    put("cifar", "ten-names.bin", b"\x09cat\ndog\r\n" + b"\x03" + record + b"\x09" + record[::-1])
    put("cifar", "hundred.bin", b"\0\x13\x63" + record)
    put("cifar", "cut.bin", b"\0\x07" + record[:-1])


def classes():
    put("classes", "three.txt", "cat\r\na dog\nbird")
    put("classes", "empty.txt", "cat\n\ndog\n")


def shard(members, kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def trimmed(data):
    """The padding of whole records is of no use here: two blocks mark the end."""
    return data.rstrip(b"\0").ljust(-(-len(data.rstrip(b"\0")) // 512) * 512, b"\0") + bytes(1024)


def tar():
    pair = [("a.jpg", b"picture"), ("a.cls", b"3\n"), ("b.png", b""), ("b.cls", b"0")]
    long = [("folder/" * 20 + "name.of.a.picture.jpg", b"x" * 600), ("x/.hidden.jpg", b"1")]
    # The last byte is no part of the archive. Odd: the target puts the checksums right, so that mutated headers are looked into.
    for name, members, kind in (("ustar", pair, tarfile.USTAR_FORMAT), ("gnu", long, tarfile.GNU_FORMAT),
                                ("pax", long + [("\u00e4" * 90 + ".jpg", b"1")], tarfile.PAX_FORMAT),
                                ("twice", pair + pair[:1], tarfile.USTAR_FORMAT)):
        put("tar", name + ".tar", trimmed(shard(members, kind)) + b"\0")
    put("tar", "mended.tar", trimmed(shard(pair + long, tarfile.PAX_FORMAT)) + b"\1")
    put("tar", "mended-gnu.tar", trimmed(shard(pair + long, tarfile.GNU_FORMAT)) + b"\1")
    put("tar", "zipped.tar", b"\x1f\x8b\x08" + bytes(600))


def stored():
    magic, path = b"lacuna shard 3".ljust(16, b"\0"), b"/a.tar"
    text = b"a.jpg\0b/c.png\0"
    pictures = struct.pack("<QQQq", 0, 512, 100, -1) + struct.pack("<QQQq", 6, 1024, 0, 7)
    put("tar_index", "two", magic + bytes(8) + struct.pack("<QQQQqq", len(path), len(text), 2, 4096, 1, 2) + path + pictures + text)
    put("tar_index", "none", magic + bytes(8) + struct.pack("<QQQQqq", len(path), 0, 0, 4096, 1, 2) + path)
    magic, root = b"lacuna listing6".ljust(16, b"\0"), b"/pictures"
    text = b"\0a/1.jpg\0a\0b.png\0"
    folders = struct.pack("<QQQqq", 0, 1, 2, 3, 4) + struct.pack("<QQQqq", 9, 1, 3, 3, 4)
    put("listing", "two", magic + bytes(8) + struct.pack("<QQQQ", len(root), len(text), 2, 2) + root +
        struct.pack("<QQ", 3, 1 << 63 | 2) + folders +
        struct.pack("<QQ", 1, 11) + text)


def recipes():
    put("recipe", "small.yaml", "image: {size: 16, mean: auto, std: [0.5, 0.5, 0.5]}\nencoder: {patch: 4, width: 16, heads: 2}\n"
        "decoders:\n  - {tap: 1, width: 8}\n  - {tap: last, weight: 0.5}\ntarget: {normalise: patch}\n"
        "schedule: {batch_size: 8, epochs: 2, lr: 1e-2}\nrun: {seed: 5, save_steps: 3}\n")
    put("recipe", "json.yaml", '{"image": {"size": [32, 16]}, "augment": {"crop_scale": [0.5, 1]}, "run": {"tf32": true}}')
    put("recipe", "base.yaml", "base: mae-cifar10\nschedule:\n  blr: 1.5e-4 # a comment\n  warmup_epochs: 'x'\n")
    put("recipe", "broken.yaml", "a: &x [*x, *x]\n--- !!binary |\n  ab\n? {b: c}\n: \"\\x41\n")
    put("settings", "some", "encoder.depth=3\naugment.crop_scale=[0.5, 1]\ndecoders.1.tap=8\ndecoders.0.weight=0.25\n"
        "data.train=/a b/c\nimage.mean=auto\nimage.size=[32,16]\nrun.seed=9223372036854775807\n")
    put("settings", "wrong", "encoder.detph=3\n=\ndecoders.99999999999.tap=1\nimage.size={a: [b\nschedule.lr=nan\nrun.tf32=2\n")


def runs():
    def tensors(header, data):
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data
    put("safetensors", "two.safetensors", tensors({"__metadata__": {"format": "lacuna"},
                                                   "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
                                                   "b": {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]}}, bytes(range(22))))
    put("safetensors", "kinds.safetensors", tensors({k: {"dtype": k, "shape": [], "data_offsets": [8 * i, 8 * i + 8]} for i, k in
                                                     enumerate(("F64", "I64", "U64"))}, bytes(range(24))))
    put("safetensors", "empty.safetensors", tensors({}, b""))
    put("safetensors", "overlap.safetensors", tensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                                                       "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}, bytes(6)))
    put("meta", "good.json", json.dumps({"lacuna": "0.1.0", "step": 8, "optimizer_steps": 8, "epoch": 2.0, "steps_per_epoch": 4,
                                         "pictures": 35, "seed": 5, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.25], "guard": {"draw": 0, "skipped": 1, "losses": 9,
                                         "mean": 0.7, "variance": 0.01}, "files": {name: {"bytes": 17, "crc32": 4294967295} for name in
                                         ("model.safetensors", "state.safetensors")}, "crc32": 5}))
    put("meta", "broken.json", '{"step": 1e400, "step": -1, "mean": [[]], "std": "\\ud800"}')
    put("events", "scalar", b"\x09" + bytes(8) + b"\x10\x05\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\x80?")
    put("events", "version", b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2")
    put("bad_files", "some.csv", 'file,reason\n07.png,"neither a JPEG, nor a PNG"\n"a ""b"".jpg",cut off\n"torn, ')


def weights():
    """Weights of other projects; with PyTorch also files of its own, else those that are there stay."""
    # A pickle of every opcode that is read: those of Python's protocols 2 and 4, and the strings of Python 2.
    value = {"a": [1, -2, 300, 70000, 1 << 40, 1 << 70, 1.5, None, True, False], "b": (1,), "c": (1, 2), "d": (1, 2, 3), "e": (1,) * 5,
             "f": {1, 2}, "g": b"bytes", "h": collections.OrderedDict(x=argparse.Namespace(y=2)), "i": [], "j": {}, "k": ()}
    for protocol in (2, 4):
        put("pickle", f"values-{protocol}.pkl", pickle.dumps(value, protocol))
    put("pickle", "strings.pkl", b"\x80\x02(U\x01aT\x01\0\0\0bB\x01\0\0\0cX\x01\0\0\0dr\0\1\0\0j\0\1\0\0"
        b"\x8b\x02\0\0\0\0\1\x8d\1\0\0\0\0\0\0\0eC\1ft.")
    put("pickle", "hostile.pkl", b"cos\nsystem\nX\x02\0\0\0id\x85R.")
    put("pickle", "outside.pkl", b"(lp0\nI1\nai__builtin__\neval\n.")
    for name, method in (("stored", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("a/data.pkl", b"N.")
            archive.writestr("a/data/0", bytes(64))
            with archive.open("a/data/1", "w", force_zip64=True) as record:
                record.write(bytes(8))
        put("zip", name + ".zip", out.getvalue())
    try:
        import torch
    except ImportError:
        return
    torch.manual_seed(0)

    def saved(value, **options):
        out = io.BytesIO()
        torch.save(value, out, **options)
        return out.getvalue()

    some = collections.OrderedDict(a=torch.arange(6.).reshape(2, 3), b=torch.arange(6.).reshape(2, 3).t(), c=torch.tensor(3),
                                   h=torch.ones(2).half(), bf=torch.ones(2).bfloat16(), e=torch.empty(0), d=torch.ones(2).double(),
                                   u=torch.ones(2, dtype=torch.uint16), p=torch.nn.Parameter(torch.ones(2)),
                                   g=torch.tensor([True, False]), i=torch.tensor([-3, 4], dtype=torch.int8))
    some["slice"] = some["a"][1:, 1:]
    whole = {"model": some, "args": argparse.Namespace(x=1), "epoch": 3}
    put("torch", "zip.pth", saved(whole))
    put("torch", "legacy.pth", saved(whole, _use_new_zipfile_serialization=False))
    put("zip", "torch.pth", saved({"x": torch.ones(2)}))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 3)
            self.register_buffer("ones", torch.ones(1).half())

        def forward(self, x):
            return self.linear(x)

    torch.jit.save(torch.jit.script(Network()), script := io.BytesIO())
    put("torch", "script.pt", script.getvalue())
    d = 4
    vit = {"cls_token": (1, 1, d), "pos_embed": (1, 5, d), "patch_embed.proj.weight": (d, 3, 2, 2), "patch_embed.proj.bias": (d,),
           "norm.weight": (d,), "norm.bias": (d,)}
    block = {"norm1.weight": (d,), "norm1.bias": (d,), "attn.qkv.weight": (3 * d, d), "attn.qkv.bias": (3 * d,),
             "attn.proj.weight": (d, d), "attn.proj.bias": (d,), "norm2.weight": (d,), "norm2.bias": (d,), "mlp.fc1.weight": (d, d),
             "mlp.fc1.bias": (d,), "mlp.fc2.weight": (d, d), "mlp.fc2.bias": (d,)}
    vit.update({"blocks.0." + k: s for k, s in block.items()})
    vit["head.weight"] = (2, d)
    put("torch", "vit.pth", saved({"model": {k: torch.randn(s) for k, s in vit.items()}, "args": argparse.Namespace(num_heads=2)},
                                  _use_new_zipfile_serialization=False))


if __name__ == "__main__":
    for make in (jpeg, png, webp, tiff, lists, cifar, classes, tar, stored, recipes, runs, weights):
        make()
