"""Small files of weights, byte by byte: what no library would write."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from effnet_jax.models.trees import flatten

FILES = Path(__file__).parent / "files"
BLOCK = "blocks.0.attn.qkv.weight"  # makes a file one of a ViT
BLOCK_NPZ = "Transformer/encoderblock_0/LayerNorm_0/scale.npy"


def safetensors(header, data=b"", length=None):
    header = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def archive(entries, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as file:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = options.get("compression", zipfile.ZIP_STORED)
            file.writestr(info, content)
    return out.getvalue()


def entries(name="vit.pth"):
    with zipfile.ZipFile(FILES / name) as file:
        return [(entry, file.read(entry)) for entry in file.namelist()]


def with_contents(contents):
    return archive([(n, contents if n.endswith("data.pkl") else x) for n, x in entries()])


def npy(header, data=b"", name="cls.npy"):
    header = header.encode().ljust(118) + b"\n"
    return archive([(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)])


def claims_a_huge_entry():
    data = bytearray(archive(entries()))
    place = data.rindex(b"PK\x01\x02")
    data[place + 20 : place + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    return bytes(data)


def number(n):
    return b"\x8a\x08" + n.to_bytes(8, "little", signed=True)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(shape, strides, *, count=4, kind="FloatStorage", key="0", offset=0):
    """The pickle of a tensor."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"
    sizes = b"".join(b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (shape, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + sizes + b"\x89}tR"


def checkpoint(contents, data=b"\0" * 16):
    """A PyTorch file with one storage, of a pickle or of a dict from names to pickles."""
    if isinstance(contents, dict):
        contents = b"\x80\x02}(" + b"".join(text(name) + value for name, value in contents.items()) + b"u."
    return archive([("a/data.pkl", contents), ("a/byteorder", b"little"), ("a/version", b"3\n"), ("a/data/0", data)])


def state_dict(values):
    """A PyTorch file of a (nested) dict of float32 arrays, all in one storage."""
    count, numbers = sum(x.size for x in flatten(values).values()), []

    def pickled(value):
        if isinstance(value, dict):
            return b"}(" + b"".join(text(name) + pickled(inner) for name, inner in value.items()) + b"u"
        offset = sum(x.size for x in numbers)
        numbers.append(np.ascontiguousarray(value, np.float32))
        return tensor(value.shape, [s // 4 for s in numbers[-1].strides], count=count, offset=offset)

    contents = b"\x80\x02" + pickled(values) + b"."
    return checkpoint(contents, b"".join(x.tobytes() for x in numbers))


def own(about, tensors):
    """A .safetensors file with metadata of ours."""
    return save(tensors, metadata={"effnet_jax": about if isinstance(about, str) else json.dumps(about)})


def metadata(**model):
    pixels = {"image_size": 16, "mean": [0, 0, 0], "std": [1, 1, 1], "resample": "bilinear"}
    return {"head": False, "domain": "", "preprocessing": pixels, "model": {"backbone": "vit_tiny", **model}}


def zeros(*shape):
    return np.zeros(shape, np.float32)


def odd():
    """Files that are small, well-formed and absurd."""
    cls, patches = tensor((1, 1, 4), (4, 4, 1)), "patch_embed.proj.weight"
    small = {BLOCK: tensor((4, 1), (1, 1)), "cls_token": cls}
    laugh = b"".join(b"]\x94(h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(60))
    return {
        "stride.pth": checkpoint({BLOCK: tensor((1,), (2**61,))}),
        "expanded.pth": checkpoint({BLOCK: tensor((4,), (0,))}),
        "empty.pth": checkpoint({BLOCK: tensor((0, 2**61), (1, 1))}),
        "positions.pth": checkpoint({**small, "pos_embed": tensor((1, 0, 4), (1, 1, 1)), patches: cls}),
        "patches.pth": checkpoint({
            **small, "pos_embed": cls, patches: tensor((4, 0, 1, 0), (1, 1, 1, 1)),
        }),
        "scalar.pth": checkpoint({"encoder." + BLOCK: cls, "mlp_head.0.weight": tensor((), ())}),
        "shared.pth": checkpoint(
            {
                f"blocks.{i}.attn.qkv.weight": tensor((500,), (1,), count=500 + i, kind="BFloat16Storage")
                for i in range(90)
            },
            b"\0" * 2000,
        ),
        "laugh.pth": checkpoint(b"\x80\x04]\x94" + laugh + b"\x8c\x01x\x93."),
        "sizes.pth": checkpoint(b"\x80\x02]q\0(" + b"K\1" * 2000 + b"ectorch\nSize\nq\1" + b"h\1h\0\x85R" * 500 + b"."),
        "texts.pth": checkpoint(
            b"\x80\x02" + text("a" * 4000) + b"q\0c_codecs\nencode\nq\1" + b"h\1h\0\x85R" * 500 + b"."
        ),
        "pairs.pth": checkpoint(
            b"\x80\x02]q\0(" + b"".join(number(i) + b"N\x86" for i in range(99)) + b"eccollections\nOrderedDict\nq\1"
            + b"h\1h\0\x85R" * 500 + b"."
        ),
        "deep.safetensors": own(metadata(depth=2000), {BLOCK: zeros(1)}),
        "own.safetensors": own(metadata(width=12, depth=1, heads=1, patch_size=8, image_size=16), {
            BLOCK: zeros(36, 12), "cls_token": zeros(1, 1, 12), "pos_embed": zeros(1, 5, 12),
            patches: zeros(12, 3, 8, 8),
        }),
        "empty.npz": npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999), }", name=BLOCK_NPZ
        ),
    }  # fmt: skip
