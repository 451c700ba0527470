"""Files that mean harm, or are damaged: refused at once, with a sentence, without much memory."""

import io
import json
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import fuzz
import numpy as np
import pytest
from safetensors.numpy import save

from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.sources import read_source

FILES = Path(__file__).parent / "files"


def safetensors(header, data=b"", length=None):
    header = header.encode()
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


def npy(header, data=b""):
    header = header.encode().ljust(118) + b"\n"
    return archive([("cls.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)])


def claims_a_huge_entry():
    data = bytearray(archive(entries()))
    place = data.rindex(b"PK\x01\x02")
    data[place + 20 : place + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    return bytes(data)


def deep_pickle():
    return b"\x80\x02" + b"]" + b"q\x00" + b"\x85" * 30_000 + b"."


F32 = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'
HOSTILE = {
    "a header of 2^60 bytes": (safetensors("{}", length=2**60), "claims 1152921504606846976 bytes"),
    "a header longer than the file": (safetensors("{}", length=3000), "claims 3000 bytes"),
    "a tensor of 2^60 numbers": (
        safetensors('{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}'),
        "a: claims shape (1152921504606846976,)",
    ),
    "a tensor outside": (safetensors('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', b"\0" * 4), "a: claims"),
    "a negative place": (safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}', b"\0" * 8), "whole"),
    "a name twice": (safetensors(f'{{"a":{{{F32}}},"a":{{{F32}}}}}', b"\0" * 4), "more than once: a"),
    "a cut-off tensor": (save({"a": np.zeros(100, np.float32)})[:-7], "a: claims shape (100,)"),
    "unknown numbers": (safetensors('{"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}', b"\0"), "type F8"),
    "a nested header": (safetensors("[" * 500_000), "bad header"),
    "a huge number": (safetensors('{"a":' + "9" * 10_000 + "}"), "bad header"),
    "a pickle that runs code": ((FILES / "runs_code.pth").read_bytes(), "system"),
    "a bare pickle": (pickle.dumps({"a": 1}), "old format"),
    "an old file": ((FILES / "old.pth").read_bytes(), "before 1.6"),
    "a whole module": ((FILES / "module.pth").read_bytes(), "names torch.nn.modules.linear.Linear"),
    "a namespace": ((FILES / "namespace.pth").read_bytes(), "names argparse.Namespace"),
    "a program": ((FILES / "script.pt").read_bytes(), "TorchScript"),
    "eval by name": (with_contents(b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R."), "names __builtin__.eval"),
    "eval from the stack": (with_contents(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."), "names builtins.eval"),
    "an object built": (with_contents(b"\x80\x02c__main__\nA\n)\x81}b."), "names __main__.A"),
    "an extension": (with_contents(b"\x80\x02\x82\x01."), "instruction"),
    "bytes that claim 2^60": (with_contents(b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"."), "cut off"),
    "a memo at 2^31": (with_contents(b"\x80\x02]r\xff\xff\xff\x7f."), "holds a list"),
    "a deep pickle": (with_contents(deep_pickle()), "holds a tuple"),
    "a key that is a deep tuple": (with_contents(deep_pickle()[:-1] + b"}h\x00\x85\x85K\x01s."), "key is no text"),
    "an endless pickle": (with_contents(b"]" * 3 * 2**20), "not read"),
    "a path outside": (archive([*entries(), ("../../etc/passwd", b"x")]), "'../../etc/passwd' points outside"),
    "an absolute path": (archive([*entries(), ("/etc/passwd", b"x")]), "'/etc/passwd' points outside"),
    "another folder": (archive([*entries(), ("other/data/0", b"x")]), "entries outside"),
    "a compressed storage": (archive(entries(), compression=zipfile.ZIP_DEFLATED), "compressed"),
    "an entry that claims 4 GB": (claims_a_huge_entry(), "claims"),
    "an archive cut in half": ((FILES / "vit.pth").read_bytes()[:20_000], "damaged or cut-off"),
    "a storage that is missing": (archive([e for e in entries() if not e[0].endswith("data/3")]), "lacks"),
    "a storage cut off": (archive([(n, x[:-4] if n.endswith("data/3") else x) for n, x in entries()]), "need more"),
    "another byte order": (archive([(n, b"big" if n.endswith("byteorder") else x) for n, x in entries()]), "big-end"),
    "an array of 2^60": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }"), "claims shape",
    ),
    "an array of objects": (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "no plain array"),
    "an array whose header is a program": (npy("__import__('os').system('touch executed')"), "no plain array"),
    "a zip bomb": (archive([("cls.npy", b"\0" * 2**28)], compression=zipfile.ZIP_DEFLATED), "entries claim 26843"),
    "a web page": (b"<!DOCTYPE html><title>Google Drive - Virus scan warning</title>", "a web page"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "nothing": (b"", "claims 0 bytes of a file of 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_refused_in_a_second_with_a_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, words = HOSTILE[name]
    path = tmp_path / "weights.bin.safetensors"
    path.write_bytes(data)
    start = time.process_time()
    with pytest.raises(WeightsError) as caught:
        read_source(path)
    took = time.process_time() - start
    tracemalloc.start()
    with pytest.raises(WeightsError):
        read_source(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert words in str(caught.value), str(caught.value)[:500]
    assert str(path) in str(caught.value)
    assert took < 5  # a second without the type checks of the tests
    assert peak < 60e6 + 30 * len(data)
    assert not (tmp_path / "executed").exists()


def test_a_name_twice_in_an_archive(tmp_path):
    path = tmp_path / "w.pth"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(archive([*entries(), next(e for e in entries() if e[0].endswith("data/0"))]))
    with pytest.raises(WeightsError, match="is there twice"):
        read_source(path)


def test_a_name_twice_in_a_state_dict(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(with_contents(b"\x80\x02}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00aK\x02u."))
    with pytest.raises(WeightsError, match="the name 'a' twice"):
        read_source(path)


def test_tensors_may_not_reach_outside_their_storage(tmp_path):
    contents = next(x for n, x in entries() if n.endswith("data.pkl"))
    path, hits = tmp_path / "w.pth", 0
    for place in range(len(contents) - 1):  # make each small number of the pickle 255, one at a time
        if contents[place] == 0x4B:  # BININT1
            path.write_bytes(with_contents(contents[: place + 1] + b"\xff" + contents[place + 2 :]))
            try:
                read_source(path)
            except WeightsError as error:
                hits += "reaches outside" in str(error)
    assert hits > 20


def test_mutated_files_are_read_or_refused():
    """In a process of its own: the type checker of the tests writes and compiles code, which the watch would notice."""
    done = subprocess.run([sys.executable, fuzz.__file__, "1500", "0"], capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result["noticed"] == []
    assert done.returncode == 0
    assert result["slowest_s"] < 3
    assert result["inside: refused"] > 200
    assert result["list: refused"] > 200
    assert sum(n for key, n in result.items() if key.endswith(("read", "refused"))) == 1500
