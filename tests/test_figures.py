"""The shipped figures, as a reader meets them."""

from pathlib import Path

import matplotlib.pyplot as plt
import pytest

FIGURES = sorted((Path(__file__).parents[1] / "paper_figs").glob("*.png"))


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_nothing_is_cut_at_the_edges(path):
    image = plt.imread(path)[..., :3]
    assert (image[:, [0, -1]] == 1).all() and (image[[0, -1]] == 1).all()
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
