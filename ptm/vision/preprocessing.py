"""From an RGB image to what a network is given: sizes and normalisation, as a saved model describes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

SMALL = 96  # pixels; images up to this side are resized as they are, larger ones are resized and cropped
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
_RATIO = 8 / 7  # 256 to 224, the resize before the centre crop since Krizhevsky et al. 2012


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From an RGB image to a network's input.

    Resize the shorter side to ``resize`` and cut a square of ``image_size`` from the middle (``resize`` None:
    resize both sides to ``image_size``), scale to [0, 1], subtract ``mean``, divide by ``std`` (by channel).
    """

    image_size: int
    resize: int | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def at_size(self, image_size: int) -> Preprocessing:
        """The same for another input size: the same margin around the crop, none for small images."""
        if image_size == self.image_size:
            return self
        ratio = self.resize / self.image_size if self.resize else _RATIO
        resize = None if image_size <= SMALL else round(image_size * ratio)
        return replace(self, image_size=image_size, resize=resize)


@dataclass(frozen=True, kw_only=True)
class BoxPreprocessing:
    """From an RGB image to a detector's input.

    Scale to [0, 1], subtract ``mean``, divide by ``std`` (by channel); resize so that the shorter side is
    ``image_size`` and no side longer than ``longest_side`` (bilinear, without antialiasing), both in pixels.
    SSD resizes both sides to ``image_size``; YOLOX the longer one, in BGR, and pads with grey (114) to a square. All of
    it happens inside the model.
    """

    image_size: int
    longest_side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MaskPreprocessing:
    """From an RGB image to a network's input, and from a mask to classes.

    ``whole``: an image is shrunk or enlarged so that its longer side is ``image_size``; else it keeps its own
    scale, and ``image_size`` is the side of the squares that were cut from it in training. Channels are scaled to
    [0, 1], ``mean`` subtracted, divided by ``std``. ``mask_values[c]`` stands for class c in a mask.
    """

    image_size: int
    whole: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mask_values: tuple[int, ...]
