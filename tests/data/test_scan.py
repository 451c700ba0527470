import os

import pytest
from tiny import write_photos

from effnet_jax.data.scan import find_photos


def names(found):
    return [os.path.basename(photo.path) for photo in found.photos]


def test_walks_to_the_bottom_in_order_and_takes_each_path_once(tmp_path):
    write_photos(tmp_path / "a" / "deep" / "deeper", [2])
    write_photos(tmp_path / "a", [3, 1])
    write_photos(tmp_path / "ä", [4], "jpg")
    found = find_photos([tmp_path, tmp_path / "a", tmp_path / "a" / "p001.png"])
    assert names(found) == ["p002.png", "p001.png", "p003.png", "p004.jpg"]
    assert [photo.path.encode() for photo in found.photos] == sorted(photo.path.encode() for photo in found.photos)
    assert found.photos[1].size == (tmp_path / "a" / "p001.png").stat().st_size


def test_other_files_are_counted_and_unsupported_pictures_named(tmp_path):
    write_photos(tmp_path, [1])
    for name in ("notes.txt", "b.txt", "movie.MOV", "x.heic", "Thumbs.db", ".hidden.png", "noextension"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".cache").mkdir()
    write_photos(tmp_path / ".cache", [9])
    found = find_photos([tmp_path])
    assert names(found) == ["p001.png"]
    assert found.ignored == {".txt": 2, ".mov": 1, "no extension": 1}
    assert [(os.path.basename(path), reason) for path, reason in found.unreadable] == [
        ("x.heic", ".heic is not read; convert it to PNG, JPEG or WebP")
    ]


def test_links_are_followed_but_not_round_in_circles(tmp_path):
    write_photos(tmp_path / "real", [1])
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "broken.png").symlink_to(tmp_path / "nothing.png")
    found = find_photos([tmp_path / "root"])
    assert names(found) == ["p001.png"]
    assert [os.path.basename(path) for path, _ in found.unreadable] == ["broken.png"]


def test_a_named_file_is_taken_whatever_its_extension(tmp_path):
    (path,) = write_photos(tmp_path, [1])
    odd = path.rename(tmp_path / "photo.download")
    assert names(find_photos([odd])) == ["photo.download"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_listed_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    for source in (tmp_path, tmp_path / "x.jpg"):
        found = find_photos([source])
        assert not found.photos
        assert found.unreadable == [(str(tmp_path / "x.jpg"), "not a regular file")]


def test_sources_that_are_missing_are_all_named(tmp_path):
    with pytest.raises(ValueError, match=r"one.*two"):
        find_photos([tmp_path / "one", tmp_path, tmp_path / "two"])


def test_a_name_that_is_not_utf8_is_listed(tmp_path):
    write_photos(tmp_path, [1])
    bad = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        os.rename(os.fsencode(tmp_path / "p001.png"), bad)
    except OSError:
        pytest.skip("this file system has only UTF-8 names")
    found = find_photos([tmp_path])
    assert not found.photos
    assert found.unreadable[0][1] == "name is not UTF-8; rename it"
