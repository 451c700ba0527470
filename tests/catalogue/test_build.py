import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny import draw_pair, tiny_encoders, write_photos

from effnet_jax.catalogue import build, layout, owned, part_files, parts
from effnet_jax.catalogue.build import build_catalogue
from effnet_jax.catalogue.catalogue import Catalogue
from effnet_jax.images.preprocessing import resize


@pytest.fixture(scope="module")
def encoders():
    return tiny_encoders()


@pytest.fixture
def photos(tmp_path):
    write_photos(tmp_path / "photos" / "sub", range(5, 9))
    write_photos(tmp_path / "photos", range(5))
    return tmp_path / "photos"


def state(folder):
    """What a reader sees: path -> embedding, tokens aside."""
    catalogue = Catalogue.open(folder)
    return dict(zip(catalogue.paths, np.array(catalogue.embeddings), strict=True))


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_allclose(a[path].astype(np.float32), b[path].astype(np.float32), atol=2e-3, err_msg=path)


def test_the_table_of_before_is_not_held_while_photos_are_embedded(photos, encoders, tmp_path, monkeypatch):
    class Table(dict):
        pass

    tables, held = [], []
    read, encode = build._photos_of, parts.PartWriter._encode

    def photos_of(*arguments):
        table = Table(read(*arguments))
        tables.append(weakref.ref(table))
        return table

    def encode_and_look(*arguments):
        held.append([table() is not None for table in tables])
        encode(*arguments)

    build_catalogue([photos], tmp_path / "index", encoders)
    monkeypatch.setattr(build, "_photos_of", photos_of)
    monkeypatch.setattr(parts.PartWriter, "_encode", encode_and_look)
    write_photos(photos, [50])
    report = build_catalogue([], tmp_path / "index")
    assert (report.added, report.embedded, held) == (1, 1, [[False]])


def test_holds_every_photo_in_order_of_its_path(photos, encoders, tmp_path):
    report = build_catalogue([photos], tmp_path / "index", encoders, batch_size=4, part_photos=3)
    assert (report.photos, report.added, report.embedded, report.unreadable) == (9, 9, 9, [])
    catalogue = Catalogue.open(tmp_path / "index")
    assert catalogue.paths == sorted(str(p) for p in photos.rglob("*.png"))
    images = np.stack([resize(np.asarray(draw_pair(i)[0]), 32) for i in [*range(5), *range(5, 9)]])
    order = [int(os.path.basename(path)[1:4]) for path in catalogue.paths]
    np.testing.assert_allclose(catalogue.embeddings, encoders.embed_photos(images)[order], atol=1e-3)
    assert catalogue.embeddings.dtype == np.float16
    assert catalogue.thumbnail(0).startswith(b"\xff\xd8")
    manifest = layout.read_manifest(tmp_path / "index")
    assert manifest is not None
    assert manifest.sources == (str(photos),)


def test_only_what_is_new_is_embedded(photos, encoders, tmp_path):
    index = tmp_path / "index"
    build_catalogue([photos], index, encoders)
    (photos / "p000.png").rename(photos / "sub" / "moved.png")
    (photos / "p001.png").unlink()
    draw_pair(77)[0].save(photos / "p002.png")
    write_photos(photos, [50])
    os.utime(photos / "p003.png", (1, 1))  # another time, the same content
    report = build_catalogue([], index)
    assert (report.photos, report.added, report.removed, report.changed, report.moved) == (9, 2, 2, 1, 1)
    assert report.embedded == 2
    build_catalogue([photos], tmp_path / "fresh", encoders)
    assert_same_state(state(index), state(tmp_path / "fresh"))
    assert build_catalogue([], index).embedded == 0
    assert len(list(index.glob("photos-*.npy"))) == 1  # older generations are gone


def test_content_is_checked_where_it_is_asked_for(photos, encoders, tmp_path):
    index = tmp_path / "index"
    build_catalogue([photos], index, encoders)
    path = photos / "p002.png"
    before = path.stat()
    data = path.read_bytes()
    draw_pair(78)[0].save(path)
    other = path.read_bytes()
    path.write_bytes(other.ljust(len(data), b"\0")[: max(len(data), len(other))])
    if path.stat().st_size != before.st_size:
        path.write_bytes(data)
        pytest.skip("the other picture is larger")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert build_catalogue([], index).changed == 0
    assert build_catalogue([], index, check_contents=True).changed == 1


def test_parts_are_written_by_time_too(photos, encoders, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_SECONDS", 0)
    build_catalogue([photos], tmp_path / "index", encoders, batch_size=4)
    assert [len(part_files.part_array(tmp_path / "index", n, "sha256")) for n in (1, 2, 3)] == [4, 4, 1]


def test_copies_are_embedded_once(encoders, tmp_path):
    (path,) = write_photos(tmp_path / "photos", [1])
    (tmp_path / "photos" / "copy.png").write_bytes(path.read_bytes())
    report = build_catalogue([tmp_path / "photos"], tmp_path / "index", encoders)
    assert (report.photos, report.embedded) == (2, 1)


def test_what_cannot_be_read_is_listed_and_the_rest_goes_on(photos, encoders, tmp_path):
    (photos / "cut.png").write_bytes((photos / "p001.png").read_bytes()[:60])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.png").write_text("hello")
    report = build_catalogue([photos], tmp_path / "index", encoders)
    assert report.photos == 9
    assert [(os.path.basename(path), reason) for path, reason in report.unreadable] == [
        ("cut.png", "damaged"), ("empty.jpg", "empty"), ("text.png", "not an image"),
    ]  # fmt: skip
    assert json.loads((tmp_path / "index" / "index.json").read_text())["unreadable"][0][1] == "damaged"


def test_sources_are_remembered_added_and_forgotten(photos, encoders, tmp_path):
    index = tmp_path / "index"
    build_catalogue([photos], index, encoders)
    write_photos(tmp_path / "more", [60, 61])
    assert build_catalogue([tmp_path / "more"], index).photos == 11
    (tmp_path / "more").rename(tmp_path / "gone")
    with pytest.raises(ValueError, match="--forget"):
        build_catalogue([], index)
    assert len(Catalogue.open(index)) == 11
    assert build_catalogue([], index, forget=[tmp_path / "more"]).photos == 9
    with pytest.raises(ValueError, match="not a source of this index"):
        build_catalogue([], index, forget=[tmp_path / "more"])


def test_a_source_that_lost_all_its_photos_is_taken_for_a_missing_one(photos, encoders, tmp_path):
    (more,) = write_photos(tmp_path / "more", [60])
    index = tmp_path / "index"
    build_catalogue([photos, tmp_path / "more"], index, encoders)
    more.unlink()
    with pytest.raises(ValueError, match=rf"have none now.*\n  {tmp_path / 'more'}\n.*--forget"):
        build_catalogue([], index)
    assert len(Catalogue.open(index)) == 10
    assert build_catalogue([], index, forget=[tmp_path / "more"]).removed == 1


@pytest.mark.parametrize(
    ("name", "damage", "embedded"),
    [
        ("embeddings-000001.npy", "cut", 0),
        ("photos-000001.npy", "missing", 0),
        ("paths-000001.bin", "not UTF-8", 0),
        ("index.json", "missing", 0),
        ("parts/000001/sha256.npy", "missing", 4),
        ("parts/000001/thumbnails.bin", "missing", 4),
        ("parts/000001/embeddings.npy", "empty", 4),
        ("model/weights.safetensors", "cut", 0),
    ],
)
def test_a_damaged_index_is_named_and_repaired(photos, encoders, tmp_path, name, damage, embedded):
    index = tmp_path / "index"
    build_catalogue([photos], index, encoders, batch_size=4, part_photos=4)
    before, path = state(index), index / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-9], "empty": b"", "not UTF-8": b"\xff" + data[1:]}[damage])
    if "parts" not in name and "model" not in name:
        with pytest.raises(ValueError, match=r"there is no index" if name == "index.json" else re.escape(path.name)):
            Catalogue.open(index).paths  # noqa: B018, read for the error
    if name == "index.json":
        with pytest.raises(ValueError, match=r"index\.json is missing.*give them again"):
            build_catalogue([], index)
    report = build_catalogue([photos] if name == "index.json" else [], index, encoders if "model" in name else None)
    assert (report.photos, report.embedded) == (9, embedded)
    assert_same_state(before, state(index))
    assert all(Catalogue.open(index).thumbnail(row).startswith(b"\xff\xd8") for row in range(9))


def test_another_checkpoint_is_refused_by_name(photos, encoders, tmp_path):
    index = tmp_path / "index"
    build_catalogue([photos], index, encoders)
    before = state(index)
    with pytest.raises(ValueError, match=rf"another checkpoint.*\n.*{encoders.fingerprint[:12]}"):
        build_catalogue([photos], index, tiny_encoders(1))
    assert_same_state(before, state(index))


def test_nothing_to_build_from(encoders, tmp_path):
    with pytest.raises(ValueError, match="no index in"):
        build_catalogue([tmp_path], tmp_path / "index")
    with pytest.raises(ValueError, match="nothing to embed"):
        build_catalogue([], tmp_path / "index", encoders)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not one photo"):
        build_catalogue([tmp_path / "empty"], tmp_path / "index", encoders)
    (tmp_path / "empty" / "bad.png").write_text("x")
    with pytest.raises(ValueError, match=r"no index was made\.\n.*bad\.png: not an image"):
        build_catalogue([tmp_path / "empty"], tmp_path / "index", encoders)
    assert not (tmp_path / "index").exists()
    encoders.save(tmp_path / "index" / "model")
    with pytest.raises(ValueError, match="not there"):  # what was in the folder before stays
        build_catalogue([tmp_path / "nowhere"], tmp_path / "index")
    with pytest.raises(ValueError, match="a build was stopped there"):
        Catalogue.open(tmp_path / "index")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        build_catalogue([tmp_path], tmp_path / "file", encoders)


def test_tokens_are_kept_when_asked_for(photos, encoders, tmp_path):
    index = tmp_path / "index"
    build_catalogue([photos], index, encoders)
    with pytest.raises(ValueError, match="keeps no tokens"):
        Catalogue.open(index).tokens([0])
    assert build_catalogue([], index, tokens=True).embedded == 9  # parts without tokens do not serve
    assert build_catalogue([], index).embedded == 0  # remembered
    catalogue = Catalogue.open(index)
    image = resize(np.asarray(draw_pair(3)[0]), 32)[None]
    row = catalogue.paths.index(str(photos / "p003.png"))
    np.testing.assert_allclose(catalogue.tokens([0, row])[1], encoders.embed_photos_with_tokens(image)[1][0], atol=2e-2)


def test_a_folder_of_somebody_else_is_refused(photos, encoders, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "embeddings-2024.npy").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no index of effnet-jax \(it holds embeddings-2024\.npy\)"):
        build_catalogue([photos], tmp_path / "mine", encoders)
    (tmp_path / "mine" / "model").mkdir()
    (tmp_path / "mine" / "model" / "model.json").write_text("{}")
    with pytest.raises(ValueError, match="does not hold encoders"):
        build_catalogue([photos], tmp_path / "mine", encoders)
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["embeddings-2024.npy", "model"]


def test_only_our_own_files_are_removed(photos, encoders, tmp_path):
    index = tmp_path / "index"
    build_catalogue([photos], index, encoders)
    theirs = [
        "photos-trip.npy",
        "parts/.000009.old.tmp/sha256.npy",
        "paths-x.bin",
        ".my.tmp",
        "parts/2024/a.jpg",
        "parts/000777/a.jpg",
        "parts/notes.txt",
    ]
    ours = [
        "photos-000099.npy",
        ".index.json.12.tmp",  # of an older version, as are parts/.unfinished-*
        f".photos-000004.npy.{'0a' * 16}.tmp",
        "parts/000500/embeddings.npy",
        "parts/.unfinished-000009/sha256.npy",
        f"parts/.000009.{'0a' * 16}.tmp/sha256.npy",
    ]
    for name in [*theirs, *ours]:
        (index / name).parent.mkdir(exist_ok=True)
        (index / name).write_bytes(b"x")
    write_photos(photos, [51])
    build_catalogue([], index)
    assert [name for name in theirs if not (index / name).exists()] == []
    assert [name for name in ours if (index / name).exists()] == []
    assert (index / "photos-000100.npy").exists()
    assert len(Catalogue.open(index)) == 10


def test_leftovers_of_a_build_killed_while_it_wrote_the_encoders_are_ours(tmp_path):
    for name in (".weights.safetensors.12.tmp", f".weights.safetensors.{'0a' * 16}.tmp"):
        index = tmp_path / name
        (index / "model").mkdir(parents=True)
        (index / ".lock").touch()
        (index / "model" / name).write_bytes(b"x")
        owned.check_place(index)
        (index / "model" / "weights.tmp").write_bytes(b"x")
        with pytest.raises(ValueError, match="no index of effnet-jax"):
            owned.check_place(index)


def test_a_part_that_two_threads_write_at_once_is_one_of_theirs_and_whole(tmp_path, monkeypatch):
    both_wrote = threading.Barrier(2, timeout=10)
    monkeypatch.setattr(part_files, "to_disk", lambda file: file.name == "thumbnails.bin" and both_wrote.wait())

    def write(value):
        arrays = {"sha256": np.full((3, 32), value, np.uint8), "embeddings": np.full((3, 4), value, np.float16)}
        try:
            part_files.write_part(tmp_path, 1, arrays, [b"t"] * 3)
        except OSError:
            return []
        return [value]

    with ThreadPoolExecutor(2) as pool:
        (wrote,) = [value for values in pool.map(write, (1, 2)) for value in values]
    contents = part_files.part_contents(tmp_path, 1, tokens=False)
    assert contents is not None
    assert (contents == wrote).all()
    assert (part_files.part_array(tmp_path, 1, "embeddings") == wrote).all()
    assert [path.name for path in (tmp_path / layout.PARTS).iterdir()] == ["000001"]


def test_two_builds_at_once_are_refused(photos, encoders, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    index = tmp_path / "index"
    build_catalogue([photos], index, encoders)
    with open(index / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another effnet-jax embed"):
            build_catalogue([], index)


BUILD = """
import sys, time
sys.path[:0] = sys.argv[4:]
from tiny import tiny_encoders
from effnet_jax.catalogue import parts
from effnet_jax.catalogue.build import build_catalogue
plain = parts.PartWriter._encode
def slow(self, *rest):
    time.sleep(float(sys.argv[3]))
    plain(self, *rest)
parts.PartWriter._encode = slow
print(build_catalogue([sys.argv[1]], sys.argv[2], tiny_encoders(), batch_size=4, part_photos=8).embedded, flush=True)
"""


def start(photos, index, pause):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    arguments = [sys.executable, "-c", BUILD, str(photos), str(index), str(pause), *[p for p in sys.path if p]]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_stopped_build_leaves_the_old_index_and_goes_on(tmp_path, encoders, number):
    index = tmp_path / "index"
    write_photos(tmp_path / "photos", range(4))
    build_catalogue([tmp_path / "photos"], index, encoders)
    old = state(index)
    write_photos(tmp_path / "photos", range(4, 60))
    process = start(tmp_path / "photos", index, 0.3)
    try:
        deadline = time.monotonic() + 240
        while len(part_files.part_numbers(index)) < 3 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        _, words = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert "the same command goes on" in words
    assert_same_state(old, state(index))  # a reader sees the old index, whole
    saved = sum(len(part_files.part_array(index, n, "sha256")) for n in part_files.part_numbers(index)) - 4
    assert saved >= 8
    report = build_catalogue([], index)
    assert report.embedded == 56 - saved
    build_catalogue([tmp_path / "photos"], tmp_path / "fresh", encoders)
    assert_same_state(state(index), state(tmp_path / "fresh"))
    assert not list((index / layout.PARTS).glob(".*"))
