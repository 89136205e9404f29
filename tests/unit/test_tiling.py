"""Windows cover a picture once, have one size, and give every kept pixel its context."""

import numpy as np
import pytest

from otsr.inference.tiling import spans, spread_colours


@pytest.mark.parametrize("alignment", [1, 2])
@pytest.mark.parametrize("tile", [32, 50, 512])
@pytest.mark.parametrize("overlap", [0, 3, 32])
def test_kept_parts_cover_each_pixel_once_and_have_their_context(tile: int, overlap: int, alignment: int) -> None:
    for length in [*range(1, 260, 3), 1024, 4001]:
        cut = spans(length, tile, overlap, alignment)
        assert [pixel for span in cut for pixel in range(span.keep_start, span.keep_stop)] == [*range(length)]
        for span in cut:
            assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
            assert span.keep_start - span.start >= overlap or span.start == 0
            assert span.stop - span.keep_stop >= overlap or span.stop == length
            assert span.start % alignment == 0
            assert span.size <= tile + 2 * overlap + 2 * alignment


def test_all_windows_have_one_size_and_borders_cost_no_context() -> None:
    for length in (100, 257, 1024, 4000):
        assert len({span.size for span in spans(length, 64, 10)}) == 1
    assert sum(span.size for span in spans(100, 50, 10)) == 100 + 2 * 10, "two windows share as much and no more"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_less_than_one_255th_visible_has_the_colour_of_its_neighbour(kind: type) -> None:
    white = np.iinfo(kind).max
    pixels = np.array([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], kind)
    alpha = np.array([[white // 256, white, white // 255]], kind)
    assert spread_colours(pixels, alpha)[0].tolist() == [[4, 5, 6], [4, 5, 6], [7, 8, 9]]
