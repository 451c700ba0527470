import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.storage.integrity import LISTING, damage, write_listing

FILES = {"state/d/a": b"\0" * 5000, "state/d/b": bytes(range(256)) * 9, "about/metadata": b"{}", "empty": b""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole") / "10"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    write_listing(root)
    (root / "commit_success.txt").write_text("later")
    return root


def test_what_was_written_is_whole(folder):
    assert damage(folder) == []
    assert set(json.loads((folder / LISTING).read_text())) == set(FILES)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from([n for n, content in FILES.items() if content]), data=st.data())
def test_every_cut_and_every_changed_bit_is_found(folder, name, data):
    content, path = FILES[name], folder / name
    place = data.draw(st.integers(0, len(content) - 1))
    cut = data.draw(st.booleans())
    changed = content[:place] if cut else bytes([*content[:place], content[place] ^ 4, *content[place + 1 :]])
    try:
        path.write_bytes(changed)
        (problem,) = damage(folder)
    finally:
        path.write_bytes(content)
    assert problem.startswith(f"{name} has {len(changed)} bytes, not {len(content)}" if cut else f"{name} has other")


def test_missing_files_folders_and_listings(folder):
    path = folder / "state/d/b"
    path.rename(folder.parent / "b")
    assert damage(folder) == ["state/d/b is missing"]
    (folder.parent / "b").rename(path)
    assert damage(folder.parent / "11") == ["11 is not there"]
    listing = (folder / LISTING).read_text()
    (folder / LISTING).write_text(listing[:20])
    assert damage(folder)[0].startswith("files.json cannot be read")
    (folder / LISTING).unlink()
    assert damage(folder) == []  # of an older version: nothing is known
    (folder / LISTING).write_text(listing)
