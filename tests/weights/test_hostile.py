"""Files that mean harm, or are damaged: refused at once, with a sentence, without much memory."""

import json
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile

import fuzz
import numpy as np
import pytest
from makers import (
    BLOCK,
    FILES,
    archive,
    checkpoint,
    claims_a_huge_entry,
    entries,
    metadata,
    npy,
    number,
    odd,
    own,
    safetensors,
    tensor,
    text,
    with_contents,
    zeros,
)  # fmt: skip
from safetensors.numpy import save

from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.files.pickle_reader import interpret
from effnet_jax.weights.sources import read_source

ODD = odd()


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
    "a path outside": (archive([*entries(), ("../../etc/passwd", b"x")]), "outside the archive: '../../etc/passwd'"),
    "an absolute path": (archive([*entries(), ("/etc/passwd", b"x")]), "outside the archive: '/etc/passwd'"),
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
    "a stride of 2^61": (ODD["stride.pth"], "missing: cls_token"),
    "an expanded tensor": (ODD["expanded.pth"], "save it as .contiguous()"),
    "an empty tensor of 2^61": (ODD["empty.pth"], "is damaged"),
    "an empty tensor of 2^62": (
        safetensors({BLOCK: {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}}), "claims shape (0, 46116"
    ),
    "an empty array of 10^20": (ODD["empty.npz"], "claims shape (0, 9999"),
    "no positions": (ODD["positions.pth"], "misshapen: pos_embed is (1, 0, 4)"),
    "patches without pixels": (ODD["patches.pth"], "misshapen: patch_embed.proj.weight is (4, 0, 1, 0)"),
    "a head that is a number": (ODD["scalar.pth"], "missing: cls_token"),
    "numbers that ninety tensors share": (ODD["shared.pth"], "shares its numbers among so many"),
    "lists of lists of lists as a name": (ODD["laugh.pth"], "is damaged"),
    "a deep tuple as a name": (with_contents(b"\x80\x04)" + b"\x85" * 20_000 + b"\x8c\x01x\x93."), "is damaged"),
    "long sizes": (ODD["sizes.pth"], "is damaged"),
    "a long text encoded often": (ODD["texts.pth"], "grow beyond its own size"),
    "the same pairs often": (ODD["pairs.pth"], "grow beyond its own size"),
    "numbers that collide": (
        checkpoint(b"\x80\x02}(" + b"\x8a\x09" + (2**61 - 1).to_bytes(9, "little") + b"Nu."), "number of 9 bytes"
    ),
    "float8": (checkpoint(b"\x80\x02ctorch._utils\n_rebuild_tensor_v3\n."), "such as float8"),
    "a tuple as a key": (checkpoint(b"\x80\x02})K\x01s."), "but a tuple"),
    "tensors that overlap": (safetensors(f'{{"a":{{{F32}}},"b":{{{F32}}}}}', b"\0" * 4), "overlap: b starts at 0"),
    "a hole between tensors": (safetensors(f'{{"a":{{{F32}}}}}', b"\0" * 8), "the numbers end at 4 of 8"),
    "a hundred thousand names twice": (
        safetensors('{"a":{' + ",".join(f'"{i}":0' for i in range(100_000)) + ',"5":0}}'), "more than once: 5."
    ),
    "a hundred thousand bad tensors": (
        safetensors("{" + ",".join(f'"{i}":0' for i in range(100_000)) + "}"), "names 100000 tensors"
    ),
    "ten thousand bad tensors": (
        safetensors("{" + ",".join(f'"{i}":0' for i in range(10_000)) + "}"), "damaged: and 9950 more"
    ),
    "a name for the terminal": (save({"\x1b]0;x\x07" + "n" * 999: zeros(1)}), "\\x1b]0;x\\x07nnn"),
    "metadata of 2000 blocks": (ODD["deep.safetensors"], "missing: cls_token"),
    "metadata of other sizes": (
        own(metadata(width=12, depth=2000, heads=1, patch_size=8, image_size=16), {
            BLOCK: zeros(36, 12), "cls_token": zeros(1, 1, 12), "pos_embed": zeros(1, 5, 12),
            "patch_embed.proj.weight": zeros(12, 3, 8, 8),
        }), "depth (2000,), its tensors (1,)",
    ),
    "metadata for a domain of its own": (own({**metadata(), "domain": "../x"}, {BLOCK: zeros(1)}), "domain ../x"),
    "metadata that are deep": (own("[" * 99_999, {BLOCK: zeros(1)}), "are damaged"),
    "half of an authors' checkpoint": (checkpoint({"img_model": b"}"}), "skt_model is missing"),
    "two backbones": (
        save({f"encoder_{x}.{BLOCK}": zeros(1) for x in "qk"}), "2 vit backbones, whose names begin with encoder_"
    ),
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
    assert len(str(caught.value)) < 10_000
    assert str(caught.value).isascii()
    assert took < 5  # a second without the type checks of the tests
    assert peak < 60e6 + 30 * len(data)
    assert not (tmp_path / "executed").exists()


def test_a_name_twice_in_an_archive(tmp_path):
    path = tmp_path / "w.pth"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(archive([*entries(), next(e for e in entries() if e[0].endswith("data/0"))]))
    with pytest.raises(WeightsError, match="there twice: 'vit/data/0'"):
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


def test_what_nobody_foresaw_is_a_sentence_too(tmp_path, monkeypatch):
    def broken(path):
        raise ZeroDivisionError("by\x1b zero")

    monkeypatch.setattr("effnet_jax.weights.files.contents.read_safetensors", broken)
    path = tmp_path / "w.safetensors"
    path.write_bytes(save({"a": zeros(1)}))
    with pytest.raises(WeightsError, match=r"w\.safetensors is damaged, .*\(ZeroDivisionError: by\\x1b zero\)"):
        read_source(path)


def test_plain_values_of_checkpoints_are_read():
    pickled = b"\x80\x02}(" + text("d") + b"ctorch\ndevice\n" + text("cuda") + b"K\x00\x86R"
    pickled += text("s") + b"c__builtin__\nset\n](K\x01K\x02e\x85R" + text("f") + b"(K\x01\x91"
    pickled += text("t") + b"ctorch\nfloat32\n" + text("n") + number(-3) + text("x") + tensor((2, 2), (2, 1)) + b"u."
    value = interpret(pickled, "w")
    assert (value["d"], value["s"], value["f"], value["n"]) == ("cuda", [1, 2], (1,), -3)
    assert value["x"].shape == (2, 2)
