"""Images in formats that Pillow reads but does not write, byte by byte."""

import struct
import zlib


def png(width, height, bits, color, data, *, before=()):
    """A PNG file: color is 0 (gray), 2 (RGB), 4 (gray, alpha) or 6 (RGB, alpha); `before` holds chunks."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = len(data) // height
    rows = b"".join(b"\0" + data[start : start + size] for start in range(0, len(data), size))
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def tiff(width, bits, data, *, kind=1, white_is_zero=False, big_endian=False):
    """A gray TIFF file of one row; kind is 1 (unsigned), 2 (signed) or 3 (float)."""
    order = ">" if big_endian else "<"
    photometric = 0 if white_is_zero else 1
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: 1, 279: len(data), 339: kind}
    tags[273] = 8 + 2 + 12 * len(tags) + 4  # where the pixels begin
    entries = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    start = (b"MM" if big_endian else b"II") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return start + entries + bytes(4) + data
