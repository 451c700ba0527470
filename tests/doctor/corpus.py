"""A folder with planted faults: each with the findings that it must cause, and no others.

python tests/doctor/corpus.py FOLDER        writes the folder, to look at it
"""

import io
import os
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

A, B, TA, TB = "trainA", "trainB", "testA", "testB"
SIZE = 96


@dataclass
class Plant:
    """What was planted: files by name, and the (kind, files) of the findings."""

    name: str
    files: dict[str, bytes]
    expected: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


def photo(seed: int, size: int = SIZE) -> Image.Image:
    """Coloured shapes on white, different for each seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (4 * size, 4 * size), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(7):
        corners = [tuple(p) for p in random.integers(0.6 * size, 3.4 * size, (4, 2)).tolist()]
        draw.polygon(corners, fill=tuple(random.integers(0, 230, 3).tolist()), outline="black", width=6)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def sketch(seed: int, size: int = SIZE) -> Image.Image:
    """Black lines on white paper."""
    random = np.random.default_rng(10_000 + seed)
    image = Image.new("L", (size, size), 255)
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        draw.line(random.integers(5, size - 5, 4).tolist(), fill=0, width=2)
    return image.convert("RGB")


def stored(image: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def jpeg(image: Image.Image, quality: int = 92, **options) -> bytes:
    return stored(image, "JPEG", quality=quality, **options)


def pair(number: int, name: str | None = None, folders: tuple[str, str] = (A, B)) -> dict[str, bytes]:
    """A photo and its sketch, both good."""
    name = name or str(number)
    return {
        f"{folders[0]}/{name}_1.png": stored(sketch(number)),
        f"{folders[1]}/{name}.jpg": jpeg(photo(number)),
    }


def base() -> dict[str, bytes]:
    """What is all right: nothing may be found in it."""
    files: dict[str, bytes] = {}
    for number in range(12):
        files |= pair(number, folders=(A, B) if number < 8 else (TA, TB))
    files["trainA/1_2.png"] = stored(sketch(100))
    files["trainB/.DS_Store"] = b"leftover"
    return files


def plants() -> list[Plant]:
    """All plants that can stand in one folder."""
    made = [*_names(), *_spellings(), *_files(), *_contents(), *_identical(), *_alike(), *_shared(), *_notes()]
    assert len({plant.name for plant in made}) == len(made)
    return made


def write(root: Path, files: dict[str, bytes]) -> Path:
    for folder in (A, B, TA, TB):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_corpus(root: Path) -> Path:
    """The base and every plant in one folder, with what no dict of files can hold."""
    write(root, {**base(), **{name: data for plant in plants() for name, data in plant.files.items()}})
    (root / "trainB" / "nested").mkdir()
    (root / "testB" / "link.png").symlink_to(root / "nowhere.png")
    with (root / "trainB" / os.fsdecode(b"caf\xe9.png")).open("wb") as file:
        file.write(stored(photo(499)))
    return root


BESIDES = [
    ("subfolder", ("trainB/nested",)),
    ("not a file", ("testB/link.png",)),
    ("bad name", ("trainB/caf\\udce9.png",)),
]
"""Findings of what `write_corpus` adds."""


def _names() -> Iterable[Plant]:
    def alone(name, path, kind):
        return Plant(name, {path: stored(sketch(hash_of(path)))}, [(kind, (path,))])

    yield alone("sketch name without underscore", "trainA/plain.png", "no underscore")
    yield alone("sketch name of two words", "trainA/my drawing.png", "no underscore")
    yield alone("test sketch name without underscore", "testA/plain.png", "no underscore")
    yield alone("sketch without id", "trainA/_1.png", "empty id")
    yield alone("sketch without tag", "trainA/3_.png", "empty tag")
    yield alone("sketch without photo", "trainA/404_1.png", "no photo")
    yield alone("test sketch without photo", "testA/405_1.png", "no photo")
    yield alone("sketch whose id lacks a digit", "trainA/40x_1.png", "no photo")
    yield alone("training sketch in test", "testA/5_2.png", "wrong split")
    yield alone("test sketch in training", "trainA/9_2.png", "wrong split")
    yield Plant(
        "photo twice, other format",
        {**pair(500), "trainB/500.png": stored(photo(501))},
        [("photo twice", ("trainB/500.jpg", "trainB/500.png"))],
    )
    yield Plant(
        "photo twice, extension in capitals",
        {**pair(502, folders=(TA, TB)), "testB/502.JPG": jpeg(photo(503))},
        [("photo twice", ("testB/502.JPG", "testB/502.jpg"))],
    )
    yield Plant(
        "sketch twice, other format",
        {**pair(504), "trainA/504_1.jpg": jpeg(sketch(505))},
        [("sketch twice", ("trainA/504_1.jpg", "trainA/504_1.png"))],
    )


def _spellings() -> Iterable[Plant]:
    cases = {
        "case": ("Pump", "pump_1"),
        "spaces inside": ("ankle boot", "ankleboot_1"),
        "space before the tag": ("511", "511 _1"),
        "zeros lacking": ("00512", "512_1"),
        "zeros added": ("513", "00513_1"),
        "decomposed letters": ("caf\u00e9", "cafe\u0301_1"),
        "full-width digits": ("514", "\uff15\uff11\uff14_1"),
        "hyphen before the tag": ("515", "515-1"),
        "tag in brackets": ("516", "516 (1)"),
        "dot before the tag": ("517", "517.1"),
        "no tag": ("518", "518"),
        "two underscores": ("519", "519__1"),
        "hyphen in the id": ("clog_a", "clog-a_1"),
        "case and spaces": ("Mary Jane", "maryjane_1"),
        "photo with a tag": ("520_1", "520_1"),
        "case and no tag": ("Sandal", "sandal"),
        "German sharp s": ("stra\u00dfe", "STRASSE_1"),
    }
    for number, (name, (photo_id, stem)) in enumerate(cases.items()):
        files = {
            f"trainB/{photo_id}.jpg": jpeg(photo(520 + number)),
            f"trainA/{stem}.png": stored(sketch(520 + number)),
        }
        expected = [("name differs", (f"trainA/{stem}.png",))]
        if name == "decomposed letters":
            expected.append(("fragile name", (f"trainA/{stem}.png",)))
        yield Plant(f"spelling: {name}", files, expected)


def _files() -> Iterable[Plant]:
    for path, data in {
        "trainA/list.txt": b"1_1.png\n",
        "trainB/old.gif": stored(photo(540), "GIF"),
        "trainA/drawing.svg": b"<svg/>",
        "testB/noextension": jpeg(photo(541)),
        "testA/more.zip": b"PK\x05\x06" + bytes(18),
        "trainB/scan.tif": stored(photo(542), "TIFF"),
    }.items():
        yield Plant(f"no picture: {path}", {path: data}, [("unknown file", (path,))])


def _contents() -> Iterable[Plant]:
    def bad_photo(number, ending, data, kind, what):
        files = pair(number)
        del files[f"trainB/{number}.jpg"]
        path = f"trainB/{number}{ending}"
        return Plant(what, {**files, path: data}, [(kind, (path,))])

    image = photo(550, 160)
    png, jpg = stored(image), jpeg(image)
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    yield bad_photo(550, ".jpg", b"", "empty", "empty photo")
    yield bad_photo(551, ".png", b"this is text", "not an image", "text as photo")
    yield bad_photo(552, ".jpg", b"<!doctype html><title>404</title>", "not an image", "error page as photo")
    yield bad_photo(553, ".png", stored(image, "GIF"), "not an image", "GIF called PNG")
    yield bad_photo(554, ".jpg", jpg[: len(jpg) // 2], "damaged", "JPEG cut off")
    yield bad_photo(555, ".png", png[: len(png) // 2], "damaged", "PNG cut off")
    yield bad_photo(556, ".png", bytes(broken), "damaged", "PNG with a wrong byte")
    yield bad_photo(557, ".webp", stored(image, "WEBP")[:-60], "damaged", "WebP cut off")
    yield bad_photo(558, ".bmp", stored(image, "BMP")[:-900], "damaged", "BMP cut off")
    yield bad_photo(559, ".png", png[:24], "damaged", "PNG of a header only")
    yield bad_photo(560, ".png", png_of_size(10_000, 10_000), "too large", "too many pixels")
    yield bad_photo(561, ".jpg", jpeg(Image.new("RGB", (SIZE, SIZE), "white")), "blank", "white photo")
    yield bad_photo(562, ".jpg", jpeg(Image.new("RGB", (SIZE, SIZE), (9, 60, 200))), "blank", "blue photo")

    def bad_sketch(number, data, what, *kinds, ending=".png"):
        files = {**pair(number), f"trainA/{number}_1{ending}": data}
        if ending != ".png":
            del files[f"trainA/{number}_1.png"]
        return Plant(what, files, [(kind, (f"trainA/{number}_1{ending}",)) for kind in kinds])

    lines = ImageOps.invert(sketch(563).convert("L"))
    white_ink = Image.merge("RGBA", [Image.new("L", lines.size, 255)] * 3 + [lines])
    nothing = Image.new("RGBA", lines.size, (0, 0, 0, 0))
    yield bad_sketch(563, b"", "empty sketch", "empty")
    yield bad_sketch(564, stored(sketch(564))[:60], "sketch cut off", "damaged")
    yield bad_sketch(565, stored(Image.new("1", (SIZE, SIZE), 1)), "empty paper", "blank")
    yield bad_sketch(566, stored(Image.new("L", (SIZE, SIZE), 0)), "black paper", "blank")
    yield bad_sketch(567, stored(white_ink), "white ink on nothing", "blank", "transparent")
    yield bad_sketch(568, stored(nothing), "nothing at all", "blank", "transparent")


def _identical() -> Iterable[Plant]:
    across, within = "same photo in both splits", "same photo twice"
    one, other = pair(570), pair(571, folders=(TA, TB))
    yield Plant(
        "one photo file in both splits",
        {**one, **other, "testB/571.jpg": one["trainB/570.jpg"]},
        [(across, ("testB/571.jpg", "trainB/570.jpg"))],
    )
    files = {**pair(572), **pair(573, folders=(TA, TB))}
    del files["trainB/572.jpg"], files["testB/573.jpg"]
    files |= {"trainB/572.png": stored(photo(572)), "testB/573.bmp": stored(photo(572), "BMP")}
    yield Plant("same pixels in two formats", files, [(across, ("testB/573.bmp", "trainB/572.png"))])
    yield Plant(
        "same photo under two ids in training",
        {**pair(574), **pair(575), "trainB/575.jpg": jpeg(photo(574))},
        [(within, ("trainB/574.jpg", "trainB/575.jpg"))],
    )
    files = {**pair(576, folders=(TA, TB)), **pair(577, folders=(TA, TB)), "testB/577.jpg": jpeg(photo(576))}
    yield Plant("same photo under two ids in test", files, [(within, ("testB/576.jpg", "testB/577.jpg"))])
    files = {**pair(578), **pair(579), **pair(580, folders=(TA, TB))}
    files |= {"trainB/579.jpg": jpeg(photo(578)), "testB/580.jpg": jpeg(photo(578))}
    yield Plant("same photo three times", files, [(across, ("testB/580.jpg", "trainB/578.jpg", "trainB/579.jpg"))])
    same_number = {**pair(581), **pair(581, folders=(TA, TB)), "testA/581_1.png": stored(sketch(582))}
    yield Plant(
        "one pair's photo in both splits under one id",
        same_number,
        [(across, ("testB/581.jpg", "trainB/581.jpg")), ("id in both splits", ("testB/581.jpg", "trainB/581.jpg"))],
    )
    yield Plant(
        "sketch stored twice",
        {**pair(583), "trainA/583_2.png": stored(sketch(583))},
        [("same sketch twice", ("trainA/583_1.png", "trainA/583_2.png"))],
    )
    yield Plant(
        "sketch stored twice in two formats",
        {**pair(584, folders=(TA, TB)), "testA/584_2.bmp": stored(sketch(584), "BMP")},
        [("same sketch twice", ("testA/584_1.png", "testA/584_2.bmp"))],
    )
    yield Plant(
        "one sketch for two photos",
        {**pair(585), **pair(586), "trainA/586_1.png": stored(sketch(585))},
        [("same sketch of two photos", ("trainA/585_1.png", "trainA/586_1.png"))],
    )
    yield Plant(
        "sketch in both splits",
        {**pair(587), **pair(588, folders=(TA, TB)), "testA/588_1.png": stored(sketch(587))},
        [("same sketch in both splits", ("testA/588_1.png", "trainA/587_1.png"))],
    )
    files = pair(589)
    files["trainA/589_2.jpg"] = files["trainB/589.jpg"]
    yield Plant("photo as its own sketch", files, [("photo as sketch", ("trainA/589_2.jpg", "trainB/589.jpg"))])
    files = {**pair(590), **pair(591, folders=(TA, TB))}
    files["testA/591_2.jpg"] = files["trainB/590.jpg"]
    yield Plant("training photo as test sketch", files, [("photo as sketch", ("testA/591_2.jpg", "trainB/590.jpg"))])


def _alike() -> Iterable[Plant]:
    across = "alike in both splits"
    changes = {
        "compressed again": lambda image: image,
        "half the size": lambda image: image.resize((80, 80)),
        "mirrored": ImageOps.mirror,
        "margin cut": lambda image: image.crop((6, 6, 154, 154)),
        "margin wider": lambda image: ImageOps.expand(image, 20, "white"),
        "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.75),
        "without colour": lambda image: image.convert("L").convert("RGB"),
        "moved": lambda image: ImageOps.expand(image, (12, 4, 0, 0), "white").crop((0, 0, 160, 160)),
    }
    for index, (name, change) in enumerate(changes.items()):
        number = 600 + 2 * index
        image = photo(number, 160)
        files = {**pair(number), **pair(number + 1, folders=(TA, TB))}
        files[f"trainB/{number}.jpg"] = jpeg(image)
        files[f"testB/{number + 1}.jpg"] = jpeg(change(image), quality=50)
        yield Plant(f"photo alike: {name}", files, [(across, (f"testB/{number + 1}.jpg", f"trainB/{number}.jpg"))])
    files = {**pair(630), **pair(631), "trainB/631.jpg": jpeg(photo(630), quality=40)}
    yield Plant("photo alike in one split", files, [("alike", ("trainB/630.jpg", "trainB/631.jpg"))])


def _shared() -> Iterable[Plant]:
    files = {**pair(640), **pair(640, folders=(TA, TB))}
    files |= {"testA/640_1.png": stored(sketch(641)), "testB/640.jpg": jpeg(photo(641))}
    yield Plant("id in both splits", files, [("id in both splits", ("testB/640.jpg", "trainB/640.jpg"))])
    files = {**pair(642, "9042_v1"), **pair(643, "9042_v2", folders=(TA, TB))}
    yield Plant("versions of one id", files, [("related ids", ("testB/9042_v2.jpg", "trainB/9042_v1.jpg"))])


def _notes() -> Iterable[Plant]:
    def odd_photo(number, data, what, *kinds, ending=".jpg"):
        files = pair(number)
        del files[f"trainB/{number}.jpg"]
        path = f"trainB/{number}{ending}"
        return Plant(what, {**files, path: data}, [(kind, (path,)) for kind in kinds])

    yield Plant("photo that nobody drew", {"testB/650.jpg": jpeg(photo(650))}, [("no sketch", ("testB/650.jpg",))])
    files = {**pair(651), "trainA/651_01.png": stored(sketch(652))}
    yield Plant("tag 1 and 01", files, [("tag spelt two ways", ("trainA/651_01.png",))])
    yield Plant(
        "ids that differ in case",
        {**pair(653, "Boot7"), **pair(654, "boot7")},
        [("ids nearly equal", ("trainB/Boot7.jpg", "trainB/boot7.jpg"))],
    )
    yield Plant(
        "ids that differ in zeros",
        {**pair(655, "0655", (TA, TB)), **pair(656, "655", (TA, TB))},
        [("ids nearly equal", ("testB/0655.jpg", "testB/655.jpg"))],
    )
    decomposed = "re\u0301gal"
    yield Plant(
        "decomposed letters on both sides",
        pair(657, decomposed),
        [("fragile name", (f"trainA/{decomposed}_1.png",)), ("fragile name", (f"trainB/{decomposed}.jpg",))],
    )
    yield Plant(
        "invisible letter",
        pair(658, "658\u200b"),
        [("fragile name", ("trainA/658\u200b_1.png",)), ("fragile name", ("trainB/658\u200b.jpg",))],
    )
    yield odd_photo(660, stored(photo(660)), "PNG called JPEG", "wrong extension")
    yield odd_photo(661, jpeg(photo(661)), "JPEG called PNG", "wrong extension", ending=".png")
    exif = Image.Exif()
    exif[0x0112] = 6
    yield odd_photo(662, jpeg(photo(662), exif=exif), "turned by EXIF", "rotated")
    frames = [photo(664)]
    moving = stored(photo(663), "WEBP", save_all=True, append_images=frames, lossless=True)
    yield odd_photo(663, moving, "animation", "animated", ending=".webp")
    yield odd_photo(665, jpeg(photo(665).convert("CMYK")), "CMYK", "unusual colours")
    deep = Image.fromarray(np.asarray(photo(666).convert("L")).astype(np.uint16) * 257)
    yield odd_photo(666, stored(deep), "16-bit grey", "unusual colours", ending=".png")
    yield odd_photo(667, jpeg(photo(667).resize((SIZE, 120))), "not square", "not square")
    yield odd_photo(668, stored(photo(668).resize((4200, 80))), "huge", "huge", "not square", ending=".png")
    yield odd_photo(669, jpeg(photo(669, 48)), "tiny", "tiny")
    clear = photo(670).convert("RGBA")
    clear.putalpha(Image.eval(photo(670).convert("L"), lambda value: 0 if value > 250 else 255))
    yield odd_photo(670, stored(clear), "photo cut out", "transparent", ending=".png")
    ink = ImageOps.invert(sketch(671).convert("L"))
    black = Image.new("L", ink.size, 0)
    alpha = stored(Image.merge("RGBA", [black] * 3 + [ink]))
    files = {**pair(671), "trainA/671_1.png": alpha}
    yield Plant("ink in the alpha channel", files, [("transparent", ("trainA/671_1.png",))])
    files = {**pair(672), "trainA/672_1.png": stored(ImageOps.invert(sketch(672)))}
    yield Plant("sketch on a blackboard", files, [("light on dark", ("trainA/672_1.png",))])


def hash_of(text: str) -> int:
    return zlib.crc32(text.encode()) % 100_000 + 20_000


def png_of_size(width: int, height: int) -> bytes:
    """A 1-bit PNG that is large in pixels only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((width // 8 + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]))
    print(f"{len(plants()) + len(BESIDES)} plants in {sys.argv[1]}")
