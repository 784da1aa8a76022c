"""Files of figures: fewer colours than the drawing, and nobody sees it."""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from analysis.plotting import BAND, save_figure


@plt.style.context("default")
def test_the_palette_is_close_to_every_pixel_and_white_stays_white(tmp_path):
    figure, axes = plt.subplots(figsize=(5, 4))
    x = np.linspace(0, 20, 300)
    for shift, color in enumerate(plt.rcParams["axes.prop_cycle"].by_key()["color"]):  # bands over bands
        axes.plot(x, np.sin(x + shift), color=color, label=f"line {shift}")
        axes.fill_between(x, np.sin(x + shift) - 0.7, np.sin(x + shift) + 0.7, color=color, **BAND)
    axes.legend(ncols=2)
    save_figure(figure, tmp_path / "f.pdf")
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    with Image.open(tmp_path / "f.png") as image:
        assert image.mode == "P" and np.allclose(image.info["dpi"], figure.dpi, rtol=1e-3)
        kept = np.asarray(image.convert("RGB")).astype(int)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1000, "a drawing that needs the palette"
    difference = np.abs(kept - drawn).max(axis=-1)
    assert difference.max() < 32 and difference.mean() < 3
    assert (kept[(drawn == 255).all(axis=-1)] == 255).all()
