import io
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from effnet_jax.images import decode
from effnet_jax.images.decode import DecodeError, decode_rgb, encode_png, plain_encoding


def encoded(image, file_format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format=file_format, **options)
    return stream.getvalue()


def picture(height=5, width=7, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**16))
def test_rgb_png_round_trip(height, width, seed):
    image = picture(height, width, seed)
    np.testing.assert_array_equal(decode_rgb(encode_png(image)), image)


def test_result_is_a_writable_contiguous_array(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(picture()))
    image = decode_rgb(path)
    assert image.dtype == np.uint8 and image.flags.writeable and image.flags.c_contiguous
    np.testing.assert_array_equal(image, decode_rgb(str(path)))


def test_drawing_in_the_alpha_channel_becomes_black_on_white():
    alpha = np.zeros((4, 4), np.uint8)
    alpha[1, 2], alpha[3, 3] = 255, 128
    image = decode_rgb(encoded(Image.fromarray(np.dstack([np.zeros((4, 4, 3), np.uint8), alpha]))))
    assert image[0, 0].tolist() == [255] * 3
    assert image[1, 2].tolist() == [0] * 3
    assert abs(int(image[3, 3, 0]) - 127) <= 1


def test_grey_with_alpha_shows_white_paper():
    grey, alpha = np.full((2, 2), 10, np.uint8), np.array([[0, 255], [255, 0]], np.uint8)
    image = decode_rgb(encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])))
    assert image[..., 0].tolist() == [[255, 10], [10, 255]]


def test_palette_with_transparent_entry():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putdata([0, 1])
    assert decode_rgb(encoded(image)).tolist() == [[[200, 0, 0], [0, 0, 200]]]
    assert decode_rgb(encoded(image, transparency=0)).tolist() == [[[255, 255, 255], [0, 0, 200]]]
    assert decode_rgb(encoded(image, transparency=b"\x80\xff"))[0, 0].tolist() == [227, 127, 127]


@pytest.mark.parametrize("mode, colour, key", [("RGB", (1, 2, 3), (1, 2, 3)), ("L", 9, 9)])
def test_one_transparent_colour(mode, colour, key):
    data = encoded(Image.new(mode, (2, 2), colour), transparency=key)
    assert decode_rgb(data)[0, 0].tolist() == [255] * 3
    assert plain_encoding(data) != data


def test_one_bit():
    image = Image.new("1", (3, 1))
    image.putdata([0, 255, 0])
    assert decode_rgb(encoded(image))[0, :, 0].tolist() == [0, 255, 0]


def test_sixteen_bit_grey_is_scaled_not_cut():
    values = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], np.uint16)
    image = decode_rgb(encoded(Image.fromarray(values)))
    assert image[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 255]
    assert (image[..., 0] == image[..., 2]).all()


def test_sixteen_bit_grey_with_a_transparent_value():
    values = np.array([[300, 65535, 301]], np.uint16)
    stream = encoded(Image.fromarray(values))
    with_key = stream[:33] + _chunk(b"tRNS", (300).to_bytes(2, "big")) + stream[33:]
    assert decode_rgb(with_key)[0, :, 0].tolist() == [255, 255, 1]


def _chunk(kind, body):
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def test_cmyk_jpeg_as_pillow_shows_it():
    white = encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", quality=95)
    red = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    assert (decode_rgb(white) > 250).all()
    assert (decode_rgb(red)[0, 0] - np.array([255, 0, 0]) < 6).all()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(file_format, orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # light in the upper left corner only
    image = Image.fromarray(upright)
    stored = {  # what a camera held that way stores
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)  # fmt: skip
    if stored is not None:
        image = image.transpose(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(image, file_format, exif=exif.tobytes(), **options)
    seen = decode_rgb(data)
    assert seen.shape == upright.shape
    assert np.abs(seen.astype(int) - upright).max() < 40
    plain = plain_encoding(data)
    assert (plain == data) == (orientation == 1 and file_format != "WEBP")
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(plain)).convert("RGB")), seen)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow says so; the pixels are fine
def test_broken_exif_is_ignored():
    data = encoded(Image.fromarray(picture(8, 8)), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode_rgb(data).shape == (8, 8, 3)


@pytest.mark.parametrize("file_format", ["BMP", "WEBP", "JPEG", "PNG"])
def test_formats_and_wrong_extension(file_format, tmp_path):
    image = np.full((8, 8, 3), (250, 120, 10), np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(image), file_format))
    assert np.abs(decode_rgb(path).astype(int) - image).max() <= 4


def test_plain_files_are_kept_and_others_become_plain_png():
    rgb, grey = Image.fromarray(picture(8, 8)), Image.fromarray(picture(8, 8)[..., 0])
    for image, file_format in ((rgb, "PNG"), (rgb, "JPEG"), (grey, "PNG"), (grey, "JPEG")):
        data = encoded(image, file_format)
        assert plain_encoding(data) == data
    for data in (
        encoded(rgb, "BMP"),
        encoded(rgb, "WEBP", lossless=True),
        encoded(rgb.convert("RGBA")),
        encoded(rgb.convert("P")),
        encoded(grey.convert("1")),
        encoded(rgb.convert("CMYK"), "JPEG"),
        encoded(Image.fromarray(picture(8, 8)[..., 0].astype(np.uint16) * 257)),
        encoded(rgb, save_all=True, append_images=[rgb.rotate(90)]),
    ):
        plain = plain_encoding(data)
        assert plain != data and plain.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decode_rgb(plain), decode_rgb(data))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(file_format, share):
    data = encoded(Image.fromarray(picture(64, 64)), file_format)
    with pytest.raises(DecodeError) as error:
        decode_rgb(data[: int(share * len(data))])
    assert error.value.reason in ("damaged", "not an image")


def test_no_picture():
    for data, reason in ((b"", "empty"), (b"hello, world", "not an image"), (b"GIF89a" + bytes(40), "not an image")):
        with pytest.raises(DecodeError) as error:
            decode_rgb(data)
        assert error.value.reason == reason


@pytest.mark.parametrize("warn", ["error", "ignore"])
def test_decompression_bomb(warn):
    header = b"\x89PNG\r\n\x1a\n"
    for side in (9600, 60000):
        size = side.to_bytes(4, "big")
        bomb = (
            header + _chunk(b"IHDR", size + size + bytes([8, 2, 0, 0, 0])) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
        )
        with warnings.catch_warnings(), pytest.raises(DecodeError) as error:
            warnings.simplefilter(warn)
            decode_rgb(bomb)
        assert error.value.reason == "too large"
        assert "shrink it" in str(error.value)


def test_limit_is_pillows_own():
    assert decode.MAX_PIXELS == Image.MAX_IMAGE_PIXELS


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        decode_rgb(tmp_path / "none.png")
