"""Images of every mode as 8-bit pixels, and files that cannot be read."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from pcdarts.data.pixels import eight_bit, open_image, shown, to_bytes
from tests.pcdarts.data.image_bytes import png, tiff


def read(path, content):
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no stray line of Pillow on the terminal
        image = open_image(path)
    return image.mode, np.asarray(image).tolist()


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def palette(colors):
    image = Image.new("P", (len(colors), 1))
    image.putpalette([value for color in colors for value in color])
    image.putdata(range(len(colors)))
    return image


def shorts(*values, order=">"):
    return struct.pack(f"{order}{len(values)}H", *values)


def pgm(most, *values):
    return f"P5 {len(values)} 1 {most}\n".encode() + (bytes(values) if most < 256 else shorts(*values))


FLOATS = np.array([[0, 0.5, 1]], np.float32)
GRAY = {
    "png of 1 bit": (png(8, 1, 1, 0, b"\x81"), [255, 0, 0, 0, 0, 0, 0, 255]),
    "png of 2 bits": (png(4, 1, 2, 0, b"\x1b"), [0, 85, 170, 255]),
    "png of 4 bits": (png(2, 1, 4, 0, b"\x1f"), [17, 255]),
    "png of 8 bits": (png(3, 1, 8, 0, bytes([0, 7, 255])), [0, 7, 255]),
    "png of 16 bits": (png(5, 1, 16, 0, shorts(0, 257, 32767, 65278, 65535)), [0, 1, 127, 254, 255]),
    "png of uint16": (saved(Image.fromarray(np.array([[0, 256, 40000]], np.uint16)), "PNG"), [0, 1, 156]),
    "png with alpha": (saved(Image.new("LA", (1, 1), (77, 0)), "PNG"), [77]),
    "pgm of 100": (pgm(100, 0, 50, 100), [0, 128, 255]),
    "pgm of 12 bits": (pgm(4095, 0, 2048, 4095), [0, 128, 255]),
    "pgm of 16 bits": (pgm(65535, 0, 257, 65535), [0, 1, 255]),
    "pgm of floats": (b"Pf 2 1 -1.0\n" + struct.pack("<2f", 0.25, 1), [64, 255]),
    "tiff of 1 bit": (saved(Image.new("1", (2, 1), 1), "TIFF"), [255, 255]),
    "tiff of 12 bits": (tiff(2, 12, b"\xff\xf8\x00"), [255, 128]),
    "tiff of 16 bits": (tiff(3, 16, shorts(0, 257, 65535, order="<")), [0, 1, 255]),
    "tiff of 16 bits, big-endian": (tiff(3, 16, shorts(0, 257, 65535), big_endian=True), [0, 1, 255]),
    "tiff of 16 bits, white is 0": (tiff(3, 16, shorts(0, 257, 65535, order="<"), white_is_zero=True), [255, 254, 0]),
    "tiff of floats in 0 to 1": (saved(Image.fromarray(FLOATS), "TIFF"), [0, 128, 255]),
    "tiff of floats in 0 to 255": (saved(Image.fromarray(FLOATS * 254), "TIFF"), [0, 127, 254]),
    "tiff of floats, white is 0": (tiff(1, 32, struct.pack("<f", 0.25), kind=3, white_is_zero=True), [191]),
    "tiff of 32 bits in 0 to 255": (saved(Image.fromarray(np.array([[0, 255]], np.int32)), "TIFF"), [0, 255]),
    "tiff of signed bytes": (tiff(2, 8, bytes([0, 127]), kind=2), [0, 127]),
    "bmp": (saved(Image.new("L", (2, 1), 7), "BMP"), [7, 7]),
}
L_STAR_50 = 119  # sRGB of the gray whose L* is 50
COLOR = {
    "png of 16 bits": (png(2, 1, 16, 2, shorts(65535, 32768, 256, 255, 0, 512)), [[255, 128, 1], [0, 0, 2]]),
    "png of 16 bits with alpha": (png(1, 1, 16, 6, shorts(65535, 32768, 256, 0)), [[255, 128, 1]]),
    "gray png of 16 bits with alpha": (png(1, 1, 16, 4, shorts(32768, 0)), [[128, 128, 128]]),
    "png with alpha": (saved(Image.new("RGBA", (1, 1), (10, 20, 30, 0)), "PNG"), [[10, 20, 30]]),
    "palette": (saved(palette([(1, 2, 3), (4, 5, 6)]), "PNG"), [[1, 2, 3], [4, 5, 6]]),
    "palette with transparent colors": (
        saved(palette([(1, 2, 3), (4, 5, 6)]), "PNG", transparency=b"\0\x80"),
        [[1, 2, 3], [4, 5, 6]],
    ),
    "ppm of 16 bits": (b"P6 1 1 65535\n" + shorts(0, 32768, 65535), [[0, 128, 255]]),
    "cmyk": (saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [[255, 0, 0]]),
    "cmyk jpeg": (saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "JPEG"), [[255, 0, 0]]),
    "ycbcr": (saved(Image.new("YCbCr", (1, 1), (76, 85, 255)), "TIFF"), [[254, 0, 0]]),
    "lab": (saved(Image.new("LAB", (1, 1), (128, 128, 128)), "TIFF"), [[L_STAR_50] * 3]),
    "webp": (saved(Image.new("RGB", (1, 1), (10, 20, 30)), "WEBP", lossless=True), [[10, 20, 30]]),
    "gif of two frames": (
        saved(palette([(1, 2, 3)]), "GIF", save_all=True, append_images=[palette([(9, 9, 9)])]),
        [[1, 2, 3]],
    ),
    "tiff of two frames": (
        saved(Image.new("RGB", (1, 1), (1, 2, 3)), "TIFF", save_all=True, append_images=[Image.new("RGB", (5, 5))]),
        [[1, 2, 3]],
    ),
}


@pytest.mark.parametrize(("content", "values"), GRAY.values(), ids=GRAY)
def test_gray_images(tmp_path, content, values):
    assert read(tmp_path / "x.png", content) == ("L", [values])


@pytest.mark.parametrize(("content", "values"), COLOR.values(), ids=COLOR)
def test_color_images(tmp_path, content, values):
    assert read(tmp_path / "x.png", content) == ("RGB", [values])


def test_modes_that_pillow_does_not_write():
    assert eight_bit(Image.new("PA", (1, 1))).mode == "RGB" and eight_bit(Image.new("La", (1, 1))).mode == "L"
    image = Image.fromarray(np.array([[65535]], np.int32))  # mode I, as older versions of Pillow read 16-bit PNG
    image.format = "PNG"
    assert np.asarray(eight_bit(image)).tolist() == [[255]]


UNKNOWN_RANGES = {
    "floats below 0": (saved(Image.fromarray(FLOATS - 0.5), "TIFF"), "float32 values from -0.5 to 0.5 are neither"),
    "floats above 1": (saved(Image.fromarray(FLOATS * 3), "TIFF"), "float32 values from 0 to 3 are neither"),
    "not a number": (saved(Image.fromarray(FLOATS * np.nan), "TIFF"), "float32 values from nan to nan are neither"),
    "32 bits": (saved(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF"), "int32 values from 0 to 70000 "),
    "signed 16 bits": (tiff(2, 16, struct.pack("<2h", -1, 300), kind=2), "int32 values from -1 to 300 are"),
    "signed bytes": (tiff(1, 8, b"\xff", kind=2), "int8 values from -1 to -1 are"),
}
_WHOLE = saved(Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)), "PNG")
_JPEG = saved(Image.new("RGB", (64, 64), (1, 2, 3)), "JPEG")
FAULTS = {
    **UNKNOWN_RANGES,
    "empty": (b"", "not an image of a known format"),
    "html": (b"<!DOCTYPE html><html>404</html>", "not an image of a known format"),
    "truncated png": (_WHOLE[:60], "broken PNG file|truncated"),
    "truncated jpeg": (_JPEG[:-1], "image file is truncated"),
    "jpeg without a start": (_JPEG[:4], "not an image of a known format"),
    "broken checksum": (_WHOLE[:29] + b"\0\0\0\0" + _WHOLE[33:], "not an image of a known format"),
    "compressed text of 2 MB": (
        png(1, 1, 8, 0, b"\0", before=[(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**21)))]),
        "[Tt]oo [Ll]arge",
    ),
    "bomb": (png(20000, 20000, 8, 0, bytes(20000)), "400000000 pixels. exceeds limit of [0-9]+ pixels"),
    "float64": (tiff(1, 64, struct.pack("<d", 0.5), kind=3), "not an image of a known format"),
}


@pytest.mark.parametrize(("content", "text"), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_one_line_that_names_the_file(tmp_path, content, text):
    with pytest.raises(ValueError, match=f"x.png cannot be read \\(.*({text})") as caught:
        read(tmp_path / "x.png", content)
    message = str(caught.value)
    assert message.endswith("); replace it or move it out of the tree") and message.isprintable()


def test_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "dead.png").symlink_to("nowhere")
    (tmp_path / "folder.png").mkdir()
    for name, text in (("dead.png", "No such file or directory"), ("folder.png", "Is a directory")):
        with pytest.raises(ValueError, match=f"{name} cannot be read \\({text}\\); replace it"):
            open_image(tmp_path / name)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SyntaxError("broken\nheader"), "broken header"),
        (struct.error("unpack requires 2 bytes"), "unpack requires 2 bytes"),
        (OverflowError(), "OverflowError"),
        (zlib.error("Error -3"), "Error -3"),
        (EOFError("no more"), "no more"),
        (IndexError("out of range"), "out of range"),
        (PermissionError(13, "Permission denied", "x.png"), "Permission denied"),
    ],
)
def test_whatever_a_decoder_raises(tmp_path, monkeypatch, error, text):
    def fail(path):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ValueError, match=rf"x.png cannot be read \({text}\); replace it"):
        open_image(tmp_path / "x.png")


def test_no_damage_raises_anything_but_a_value_error(tmp_path):
    random, path = np.random.default_rng(0), tmp_path / "x"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[274] = 6
    picture = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF"):
        whole = saved(picture, kind, **({} if kind in ("BMP", "PPM", "GIF") else dict(icc_profile=profile, exif=exif)))
        for _ in range(10):
            damaged = bytearray(whole)
            for position in random.integers(0, min(len(whole), 400), 4):
                damaged[position] = random.integers(0, 256)
            try:
                mode, _ = read(path, bytes(damaged))
                assert mode in ("L", "RGB")
            except ValueError as error:
                assert str(path) in str(error) and "\n" not in str(error)


def test_metadata_do_not_matter(tmp_path):
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    for options in (dict(exif=b"Exif\0\0MM\0*broken"), dict(icc_profile=b"broken")):
        assert read(tmp_path / "x.png", saved(image, "PNG", **options)) == ("RGB", [[[1, 2, 3]] * 2])


def test_large_images_below_the_limit_are_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)  # a warning above 3 pixels, an error above 6
    assert read(tmp_path / "x.png", png(4, 1, 8, 0, bytes(4))) == ("L", [[0] * 4])
    with pytest.raises(ValueError, match="7 pixels. exceeds limit of 6 pixels"):
        read(tmp_path / "x.png", png(7, 1, 8, 0, bytes(7)))


def test_names_that_are_not_utf8_can_be_printed(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(saved(Image.new("L", (1, 1), 3), "PNG"))
    assert np.asarray(open_image(path)).tolist() == [[3]]
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"caf\\udce9.png' cannot be read") as caught:
        open_image(path)
    str(caught.value).encode()
    assert shown("café/東京.png") == "café/東京.png" and shown("a\nb") == "'a\\nb'"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 255], np.uint8), [0, 255]),
        (np.array([0, 255], np.int64), [0, 255]),
        (np.array([0, 0.5, 1]), [0, 128, 255]),
        (np.array([0, 0.5, 1], np.float16), [0, 128, 255]),
        (np.array([0.0, 1.0], np.float32), [0, 255]),
        (np.array([0, 1], np.uint16), [0, 1]),
        (np.array([0.0, 2.0, 255.0]), [0, 2, 255]),
    ],
)
def test_values_of_a_known_range(values, expected):
    assert to_bytes(values).dtype == np.uint8 and to_bytes(values).tolist() == expected


@pytest.mark.parametrize("values", [[-1, 3], [0, 256], [0.0, 1.5], [0.0, float("inf")], ["a"], [1j]])
def test_values_of_an_unknown_range(values):
    with pytest.raises(ValueError, match="^(int64|float64) values from .* are neither|of type .*, but must be numbers"):
        to_bytes(np.array(values))
