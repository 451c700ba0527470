"""Feed mutated files to the readers. usage: fuzz.py [INPUTS] [SEED]

Each input is a small file, valid or absurd, with bytes flipped, numbers made extreme, parts cut, doubled or swapped;
for archives also with only the list of contents or one header changed and the checksums made right again, since a wrong
checksum hides everything behind it. Every input must be read or refused with a WeightsError, within a second of
processor time, with little memory, and without executing anything: an audit hook watches for processes, code and files
opened to write.
"""

import io
import json
import random
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from makers import FILES, odd
from safetensors.numpy import save

from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.files.pickle_reader import interpret
from effnet_jax.weights.sources import read_source

EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63 - 1, 2**63, 2**64 - 1]
FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "exec", "compile", "pty.spawn")
ALLOWANCE = 2 * 2**30  # bytes of address space above what the process has at the start
watching = False
noticed: list[str] = []


def _watch(event: str, arguments: tuple) -> None:
    if not watching:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")
    if event in FORBIDDEN or writes:
        noticed.append(f"{event} {str(arguments)[:100]}")


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Change a few places."""
    value = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        if not value:
            break
        at, kind = draw.randrange(len(value)), draw.randrange(7)
        if kind == 0:
            value[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            value[at] = draw.choice((0, 0x2E, 0x52, 0x63, 0x81, 0x93, 0xFF, draw.randrange(256)))
        elif kind == 2:
            size = draw.choice("BHIQ")
            packed = struct.pack(f"<{size}", draw.choice(EXTREMES) % 2 ** (8 * struct.calcsize(size)))
            value[at : at + len(packed)] = packed
        elif kind == 3:
            del value[at:]
        elif kind == 4:
            value[at:at] = value[max(0, at - draw.randrange(64)) : at]
        elif kind == 5:
            del value[at : at + draw.randrange(64)]
        else:
            other = draw.randrange(len(value))
            value[at : at + 8], value[other : other + 8] = value[other : other + 8], value[at : at + 8]
    return bytes(value)


def mutate_entry(data: bytes, draw: random.Random) -> bytes:
    """Change one entry of an archive and write it with right checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    lists = [i for i, (name, _) in enumerate(entries) if name.endswith(("data.pkl", ".npy"))]
    i = draw.choice(lists)
    name, content = entries[i]
    head, rest = (content[:96], content[96:]) if name.endswith(".npy") else (content, b"")
    entries[i] = (name, mutate(head, draw) + rest)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return out.getvalue()


def mutate_header(data: bytes, draw: random.Random) -> bytes:
    """Change the header of a .safetensors file and write its right length."""
    length = struct.unpack("<Q", data[:8])[0]
    header = mutate(data[8 : 8 + length], draw)
    if draw.random() < 0.3:  # or change what it means
        fields = json.loads(data[8 : 8 + length])
        entry = fields[draw.choice([name for name in fields if name != "__metadata__"])]
        entry[draw.choice(list(entry))] = draw.choice(
            (None, [], {}, "F32", "BF16", [2**60], [-1, 4], [2**40, 2**40], [0, 2**60], [1.5], [[]], [True, 8], 2**70)
        )
        header = json.dumps(fields).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def seeds() -> dict[str, bytes]:
    """Valid files of each kind, and small absurd ones."""
    found = {path.name: path.read_bytes() for path in sorted(FILES.glob("*.pt*")) if path.name != "stage1_12.pth"}
    tensors = {name: x.copy() for name, x in read_source(FILES / "vit.pth").encoders[0].found.tensors.items()}
    found["vit.safetensors"] = save(tensors, metadata={"format": "pt"})
    arrays = {"cls": tensors["cls_token"], "Transformer/encoderblock_0/LayerNorm_0/scale": tensors["norm.weight"]}
    out = io.BytesIO()
    np.savez(out, **arrays)
    found["vit.npz"] = out.getvalue()
    return found | odd()


def fuzz(inputs: int, seed: int, *, folder: Path) -> dict[str, object]:
    """Run, and give the counts; raises where a reader does anything but read or refuse."""
    global watching
    draw, files, counts = random.Random(seed), seeds(), Counter()
    lists = {name: _contents(data) for name, data in files.items() if data[:2] == b"PK" and not name.endswith("npz")}
    slowest, path = 0.0, folder / "input"
    names = sorted(files)
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = (
        int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if sys.platform == "linux" else 0
    )
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + ALLOWANCE, before[1]))
    try:
        for _ in range(inputs):
            name = draw.choice(names)
            kind = draw.choice(("bytes", "inside", "list")) if name in lists else draw.choice(("bytes", "inside"))
            if kind == "list":
                data = mutate(lists[name], draw)
            elif kind == "bytes" or (files[name][:2] != b"PK" and not name.endswith(".safetensors")):
                data = mutate(files[name], draw)
            else:
                data = (
                    mutate_header(files[name], draw)
                    if name.endswith(".safetensors")
                    else mutate_entry(files[name], draw)
                )
            if kind != "list":
                path.unlink(missing_ok=True)  # not over the old one, which may still be mapped
                path.write_bytes(data)
            watching, start = True, time.process_time()
            try:
                interpret(data, "input") if kind == "list" else read_source(path)
                counts[f"{kind}: read"] += 1
            except WeightsError:
                counts[f"{kind}: refused"] += 1
            finally:
                watching = False
            slowest = max(slowest, time.process_time() - start)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    return {"inputs": inputs, **dict(sorted(counts.items())), "slowest_s": slowest, "noticed": sorted(set(noticed))}


def _contents(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


"".encode("cp437")  # the codec of old zip names, a module of Python's own that is imported at first use
sys.addaudithook(_watch)

if __name__ == "__main__":
    arguments = [int(value) for value in sys.argv[1:]] + [100_000, 0][len(sys.argv) - 1 :]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        result = fuzz(*arguments, folder=Path(folder))
    print(json.dumps(result, indent=2))
    sys.exit(1 if result["noticed"] else 0)
