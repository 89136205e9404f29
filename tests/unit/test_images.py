"""Pictures are read whatever their kind, written whole or not at all, and converted by the book."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin

from otsr import images
from otsr.images import ImageError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]
EXIF = b"Exif\0\0II*\0\10\0\0\0"


@pytest.fixture
def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def chunk(name: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def directory(*entries: tuple[int, int, int, int | bytes]) -> bytes:
    """Tags of a TIFF or of EXIF, written by hand: number, kind, count, and the value or its place."""
    values = [value.to_bytes(4, "little") if isinstance(value, int) else value for *_, value in entries]
    rows = zip(entries, values, strict=True)
    packed = b"".join(struct.pack("<HHI4s", *entry[:3], value) for entry, value in rows)
    return struct.pack("<H", len(entries)) + packed + bytes(4)


def tiff(values: bytes, width: int, height: int, bits: int, photometric: int = 1) -> bytes:
    """A grey TIFF, for depths that Pillow does not write."""
    tags = [
        (256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height),
        (279, len(values)),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<I", 8 + len(values))
    return head + values + directory(*((tag, 4, 1, value) for tag, value in tags))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_each_value_survives_the_way_to_a_file_and_back(
    tmp_path: Path, dtype: type, suffix: str, channels: int
) -> None:
    path, white = tmp_path / f"a{suffix}", np.iinfo(dtype).max
    values = np.random.default_rng(channels).integers(0, white + 1, (300, 7, channels), dtype)
    images.write(path, values[..., 0] if channels == 1 else values)
    deep = images.open_picture(path, deep=True)
    colours = values[..., :1] if channels < 3 else values[..., :3]
    np.testing.assert_array_equal(deep.pixels, np.broadcast_to(colours, deep.pixels.shape))
    assert deep.white == white
    if suffix == ".png":  # a TIFF of 16 bits holds grey with transparency as RGBA
        assert deep.grey == (channels < 3)
    np.testing.assert_array_equal(deep.alpha, values[..., -1] if channels in (2, 4) else None)
    shallow = images.open_picture(path)
    np.testing.assert_array_equal(shallow.pixels, np.rint(deep.pixels / (white / 255)))
    # To other programs it is a plain file; of 16-bit colours Pillow reads the upper bytes.
    if channels in (1, 4):
        kept = values[..., 0] if channels == 1 else values >> (8 if white > 255 else 0)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), kept)


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (tiff(bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00]), 4, 1, 12), [0, 32776, 65535, 0]),
        (tiff(struct.pack("<3H", 0, 32896, 65535), 3, 1, 16), [0, 32896, 65535]),
        (tiff(struct.pack("<3H", 0, 32896, 65535), 3, 1, 16, photometric=0), [65535, 32639, 0]),
        (b"P5 3 1 4095\n" + struct.pack(">3H", 0, 2048, 4095), [0, 32776, 65535]),
    ],
    ids=["12 bits", "16 bits", "16 bits, white is zero", "PGM up to 4095"],
)
def test_grey_is_scaled_by_the_depth_that_is_declared(tmp_path: Path, content: bytes, row: list[int]) -> None:
    (tmp_path / "a").write_bytes(content)
    assert images.open_picture(tmp_path / "a", deep=True).pixels[0, :, 0].tolist() == row


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_is_seen(tmp_path: Path, dtype: type, channels: int) -> None:
    """tRNS: one colour of the picture means transparent."""
    values = np.full((2, 4, channels), 100, dtype)
    values[:, :2] = 7
    images.write(tmp_path / "a.png", values.squeeze())
    content = (tmp_path / "a.png").read_bytes()
    where = content.index(b"IDAT") - 4
    key = chunk(b"tRNS", struct.pack(f">{channels}H", *[7] * channels))
    (tmp_path / "a.png").write_bytes(content[:where] + key + content[where:])
    picture = images.open_picture(tmp_path / "a.png")
    assert picture.alpha is not None and picture.grey == (channels == 1)
    np.testing.assert_array_equal(picture.alpha, [[0, 0, 255, 255]] * 2)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_grey_of_few_bits_is_seen(tmp_path: Path, depth: int) -> None:
    """A row of eight pixels, of which the first half has the grey 1 and the rest 0."""
    row = bytes([0]) + int("1" * 4 + "0" * 4, 1 << depth).to_bytes(depth, "big")
    head = struct.pack(">IIBBBBB", 8, 1, depth, 0, 0, 0, 0)
    parts = (b"IHDR", head), (b"tRNS", b"\0\1"), (b"IDAT", zlib.compress(row)), (b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    alpha = images.open_picture(tmp_path / "a.png").alpha
    assert alpha is not None and alpha.tolist() == [[0] * 4 + [255] * 4]


@pytest.mark.parametrize(("mode", "kept"), [("L", GREY), ("LA", GREY), ("RGB", SRGB)])
def test_a_profile_is_kept_where_it_fits_the_channels(tmp_path: Path, mode: str, kept: bytes) -> None:
    for profile in (SRGB, GREY):
        Image.new(mode, (4, 4)).save(tmp_path / "a.png", icc_profile=profile)
        assert images.open_picture(tmp_path / "a.png").icc == (kept if profile is kept else None)


def test_transparency_is_composited_on_white() -> None:
    rgba = np.random.default_rng(2).integers(0, 256, (12, 17, 4), dtype=np.uint8)
    colours, share = rgba[..., :3] / 255, rgba[..., 3:] / 255
    expected = (share * colours + (1 - share)).transpose(2, 0, 1)
    np.testing.assert_allclose(images.read(rgba).numpy(), expected, atol=1e-6)


def test_palette_transparency_is_seen_black_and_white_is_grey_and_an_opaque_channel_dropped(
    tmp_path: Path, colours: np.ndarray
) -> None:
    image = Image.fromarray(colours).quantize(16)
    image.save(tmp_path / "a.png", transparency=3)
    np.testing.assert_array_equal(images.open_picture(tmp_path / "a.png").alpha == 0, np.asarray(image) == 3)
    assert images.open_picture(image.convert("1")).grey
    assert images.open_picture(image.convert("RGBA")).alpha is None


@pytest.mark.parametrize("profile", [b"", b"no profile"], ids=["plain", "a broken profile"])
def test_cmyk_becomes_rgb(tmp_path: Path, profile: bytes) -> None:
    flat = np.full((8, 8, 3), (200, 40, 90), np.uint8)
    picture = images.open_picture(save(tmp_path / "a.jpg", flat, "CMYK", quality=100, icc_profile=profile))
    assert np.abs(picture.pixels.astype(int) - flat).max() <= 3 and picture.icc is None


@pytest.mark.parametrize(("suffix", "mode"), [("png", "RGB"), ("tif", "RGB"), ("tif", "L"), ("tif", "RGBA")])
def test_exif_rotation_is_applied(tmp_path: Path, suffix: str, mode: str) -> None:
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[0, 0] = 255  # a mark in the top left corner
    stored = (
        upright, upright[:, ::-1], upright[::-1, ::-1], upright[::-1], upright.transpose(1, 0, 2),
        np.rot90(upright), np.rot90(upright, 2).transpose(1, 0, 2), np.rot90(upright, -1),
    )  # fmt: skip
    exif = Image.Exif()
    for exif[0x0112], pixels in enumerate(stored, 1):
        path = save(tmp_path / f"a.{suffix}", np.ascontiguousarray(pixels), mode, exif=exif)
        np.testing.assert_array_equal(images.open_picture(path).pixels, upright)


def test_no_tag_that_a_camera_wrote_wrongly_loses_the_photo(tmp_path: Path) -> None:
    """Orientation 6, a resolution in letters, and an author and a maker whose letters are UTF-8."""
    author = "© José".encode() + b"\0"
    # The author stands behind the directory: 8 + 2 + 4 · 12 + 4.
    entries = (271, 2, 4, b"ACME"), (274, 3, 1, 6), (282, 2, 4, b"72 \0"), (315, 2, len(author), 62)
    exif = EXIF + directory(*entries) + author
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert images.open_picture(tmp_path / "a.jpg").pixels.shape == (6, 4, 3)
    kept = images.metadata(tmp_path / "a.jpg")
    assert b"ACME\0" in kept and author in kept


def test_a_tag_that_cannot_be_written_is_left_out_with_a_note(tmp_path: Path) -> None:
    latitude = directory((2, 2, 4, b"48N\0"))  # in letters
    exif = EXIF + directory((0x010F, 2, 4, b"ACME"), (0x8825, 4, 1, 38)) + latitude
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.warns(UserWarning, match=r"a\.jpg: metadata 2 is damaged and left out"):
        assert b"ACME\0" in images.metadata(tmp_path / "a.jpg", location=True)


def test_planes_of_16_bits_are_refused_and_of_8_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 4, 6))
    for kind, bits in (("<u1", 8), ("<u2", 16)):
        planes = values.astype(kind).tobytes()
        end, third = 8 + 2 + 12 * 10 + 4, len(planes) // 3
        threes = [bits] * 3 + [end + 36 + i * third for i in range(3)] + [third] * 3
        tags = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284)
        rows = zip(tags, (6, 4, end, 1, 2, end + 12, 3, 4, end + 24, 2), strict=True)
        entries = [(tag, 4, 3 if tag in (258, 273, 279) else 1, value) for tag, value in rows]
        content = b"II*\0\10\0\0\0" + directory(*entries) + struct.pack("<9I", *threes) + planes
        (tmp_path / "a.tif").write_bytes(content)
        if bits == 8:
            read = images.open_picture(tmp_path / "a.tif").pixels
            np.testing.assert_array_equal(read, values.transpose(1, 2, 0))
        else:
            with pytest.raises(ImageError, match=r"a\.tif: 16 bits a sample, one plane after the other"):
                images.open_picture(tmp_path / "a.tif")


def test_the_first_frame_of_an_animation_is_used_with_a_warning(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((10, 20, 30), (200, 0, 0))]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.warns(UserWarning, match="only the first"):
        assert images.open_picture(tmp_path / "a.webp").pixels[0, 0].tolist() == [10, 20, 30]


def bare_png(side: int) -> bytes:
    """A PNG that says how large it is, and holds nothing."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"<html>404</html>", "not a picture.*<html>404"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "PostScript"),
        (tiff(struct.pack("<2I", 0, 3_000_000), 2, 1, 32), "integers of 32 bits.*save it as 8- or 16-bit"),
        (bare_png(8), "truncated"),
        (bare_png(10_001), "limit of 100,000,000"),
        (bare_png(30_000), "limit of 100,000,000"),  # above Pillow's own limit too
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    for read in (images.open_picture, images.metadata) if reason == "empty" else (images.open_picture,):
        with warnings.catch_warnings(), pytest.raises(ImageError, match=rf"a\.png: .*{reason}"):
            warnings.simplefilter("error")  # Pillow warns of what is large
            read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("error", "words"),
    [(KeyError("x"), "damaged or truncated"), (PermissionError(13, "Denied"), "cannot be read: Denied")],
)
def test_whatever_a_decoder_raises_is_one_named_error(
    tmp_path: Path, colours: np.ndarray, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    path = save(tmp_path / "a.png", colours)

    def load(self: Image.Image) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(ImageError, match=rf"a\.png: {words}"):
        images.open_picture(path)


def test_a_photo_of_an_iphone_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    save(tmp_path / "a.heic", np.full((16, 16, 3), (200, 40, 90), np.uint8), quality=95)
    assert images.find_images([tmp_path]) == [tmp_path / "a.heic"]
    assert np.abs(images.open_picture(tmp_path / "a.heic").pixels.astype(int) - (200, 40, 90)).max() < 8


@pytest.mark.parametrize(
    ("array", "words"),
    [(np.zeros((3, 4, 5)), "shape"), (np.zeros((0, 4, 3)), "empty"), (np.zeros((4, 4, 3), int), "dtype int64"),
     (np.full((4, 4, 3), np.nan), "NaN"), (np.zeros(4), "shape"), (np.full((4, 4, 3), 90.0), "divide by 255")],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_arrays_that_are_no_picture_are_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=f"array: .*{words}"):
        images.open_picture(array)


def test_tensors_are_rounded_clipped_and_survive_the_way_to_a_file(tmp_path: Path, colours: np.ndarray) -> None:
    image = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.2, -3.0]).repeat(3, 1, 1)
    assert images.to_array(image)[0, :, 0].tolist() == [0, 0, 1, 255, 255, 0]
    image = images.read(colours)
    images.write(tmp_path / "a.png", image)
    assert torch.equal(images.read(tmp_path / "a.png"), image)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, colours: np.ndarray) -> None:
    target = tmp_path / "a.png"
    images.write(target, colours)
    before = target.read_bytes()
    with pytest.raises(RuntimeError), images.atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("power cut")
    assert target.read_bytes() == before and list(tmp_path.iterdir()) == [target]


def test_what_is_written_may_be_read_by_others_where_a_drive_knows_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "plain").touch()
    with images.atomic_path(tmp_path / "a") as temporary:
        temporary.touch(0o600)  # as the library safetensors does
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    monkeypatch.setattr(Path, "chmod", refuse)
    with images.atomic_path(tmp_path / "b") as temporary:
        temporary.touch()
    assert (tmp_path / "b").is_file()


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "reason"),
    [
        ("a.xyz", (12, 17, 3), np.uint8, "cannot write .xyz"),
        ("nowhere/a.png", (12, 17, 3), np.uint8, "does not exist"),
        ("a.jpg", (12, 17, 4), np.uint8, "no transparency"),
        ("a.webp", (12, 17, 3), np.uint16, "8 bits a sample, not 16"),
        ("a.webp", (1, 16_384, 3), np.uint8, "too large for WEBP"),
        ("a.jpg", (65_536, 1, 3), np.uint8, "too large for JPEG"),
    ],
)
def test_writing_the_impossible_says_why(
    tmp_path: Path, name: str, shape: tuple[int, ...], dtype: type, reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        images.write(tmp_path / name, np.zeros(shape, dtype))


def test_jpeg_keeps_colours_in_full_resolution_and_webp_its_largest_size(tmp_path: Path) -> None:
    images.write(tmp_path / "a.jpg", np.zeros((16, 16, 3), np.uint8))
    with Image.open(tmp_path / "a.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == 0
    images.write(tmp_path / "a.webp", np.zeros((1, 16_383, 3), np.uint8))


def test_a_profile_of_grey_does_not_go_into_a_file_of_colours(tmp_path: Path) -> None:
    """16-bit grey with transparency becomes RGBA in TIFF."""
    for channels, kept in ((1, b"GRAY"), (2, None)):
        images.write(tmp_path / "a.tif", np.zeros((4, 4, channels), np.uint16), icc=b"GRAY")
        with Image.open(tmp_path / "a.tif") as image:
            assert image.info.get("icc_profile") == kept
    for mode in ("L", "LA", "RGB"):  # WebP has no grey
        images.write(tmp_path / "a.webp", Image.new(mode, (4, 4)), icc=GREY if mode[0] == "L" else SRGB)
        with Image.open(tmp_path / "a.webp") as image:
            assert image.info.get("icc_profile") == (SRGB if mode == "RGB" else None)


def test_a_tiff_of_4_gb_is_refused_before_the_work_and_one_of_16_bits_when_it_comes_to_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert images.check_writable(tmp_path / "a.tif", 40_000, 35_000) == "TIFF"
    with pytest.raises(ImageError, match="too large for TIFF"):
        images.check_writable(tmp_path / "a.tif", 40_000, 36_000)
    monkeypatch.setattr("otsr.images.writing._TIFF_END", (1 << 24) + 4000)
    with pytest.raises(ImageError, match="too large for TIFF"):
        images.write(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 65536, (30, 30, 3), np.uint16))
    assert not list(tmp_path.iterdir())


def test_folders_are_walked_in_order_and_loops_reported(tmp_path: Path) -> None:
    wanted = ["a.jpg", "b/1.PNG", "b/2.png", "c.avif", "c.jfif", "c.jpe"]
    for name in [*reversed(wanted), "note.txt", ".hidden.png", "new.jxl", "none/note.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    problems: list[str] = []
    named = [tmp_path, tmp_path / "gone", tmp_path / "none"]
    found = images.find_images(named, lambda path, reason: problems.append(path.name))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == wanted
    assert problems == ["loop", "new.jxl", "gone", "none"]


def test_luma_matches_the_values_of_rgb2ycbcr() -> None:
    primaries = torch.eye(3).view(3, 3, 1)  # red, green, blue, one a row
    expected = torch.tensor([81.481, 144.553, 40.966])
    assert torch.allclose(images.luma(primaries).flatten() * 255, expected, atol=1e-4)
    assert images.luma(torch.ones(2, 3, 4, 5)).shape == (2, 1, 4, 5)


def test_crop_keeps_the_top_left_multiple() -> None:
    image = torch.arange(35.0).view(1, 5, 7)
    assert torch.equal(images.crop_to_multiple(image, 3), image[:, :3, :6])
    with pytest.raises(ValueError, match="no multiple of 8"):
        images.crop_to_multiple(image, 8)
