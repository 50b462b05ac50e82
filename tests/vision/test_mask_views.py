"""A mask moves with its image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptm.data.masks import IGNORED
from ptm.vision.loader import ViewLoader
from ptm.vision.mask_views import FILL, PairReader, SquareViewMaker, cut_square, fit_mask, padded_side
from ptm.vision.segmentation import load_data
from segmentation_samples import batch_of, built, spec


def marked(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel holds the class of each pixel, and the classes."""
    classes = np.random.default_rng(height).integers(0, 200, (height, width)).astype(np.uint8)
    return np.dstack([classes, classes, classes]), classes


def view_maker(shape, augment, size=32, whole=None) -> SquareViewMaker:
    reader = PairReader([None], None, str, whole, decoded=[marked(*shape)])
    return SquareViewMaker(reader, size, augment, seed=3)


@pytest.mark.parametrize("augment", ["crop", "standard"])
@pytest.mark.parametrize("shape", [(32, 32), (50, 70), (20, 90), (9, 9)])
def test_a_mask_moves_with_its_image(augment, shape):
    cut = view_maker(shape, augment)
    for epoch in range(8):
        (view,) = cut(epoch, np.array([0]))
        inside = view[..., 3] != IGNORED
        assert view.shape == (32, 32, 4) and inside.sum() > 50
        assert np.array_equal(view[..., 0][inside], view[..., 3][inside])
        assert (view[..., :3][~inside] == FILL).all()
        if min(shape) > 32:
            assert inside.all()


def test_a_view_is_a_function_of_seed_epoch_and_id():
    one, other = view_maker((50, 70), "standard"), view_maker((50, 70), "standard")
    views = [one(epoch, np.array([0])) for epoch in range(6)]
    assert all(np.array_equal(view, other(e, np.array([0]))) for e, view in enumerate(views))
    assert len({view.tobytes() for view in views}) > 3


def test_mirroring_happens_to_standard_views_alone():
    view = np.dstack([*marked(40, 40)])
    kept = cut_square(view, 40, np.array([0.5, 0.5, 0.1]), mirror=False, fill=(0, 0, 0, 255))
    turned = cut_square(view, 40, np.array([0.5, 0.5, 0.1]), mirror=True, fill=(0, 0, 0, 255))
    assert np.array_equal(kept, view) and np.array_equal(turned, view[:, ::-1])


def test_every_place_of_an_image_can_be_cut():
    view = np.dstack([*marked(6, 7)])
    corners = {
        cut_square(view, 5, np.array([a, b, 1.0]), mirror=False, fill=(0, 0, 0, 255)).tobytes()
        for a in np.linspace(0, 0.999, 30)
        for b in np.linspace(0, 0.999, 30)
    }
    assert len(corners) == 2 * 3


def test_without_augmentation_the_whole_image_is_fitted_into_the_square(pairs):
    pipeline = built(spec(pairs))
    batch = batch_of(pipeline, [2, 0])  # 44 x 30, 32 x 32
    wide, square = batch.targets
    assert wide.shape == (32, 32) and (wide[22:] == IGNORED).all()
    assert (wide[:22] != IGNORED).float().mean() > 0.9
    mask = load_data(spec(pairs)).train.columns["mask"][0].classes()
    assert np.array_equal(square.numpy(), mask)
    assert not pipeline.random_views


def test_sides_are_padded_to_multiples_of_32(pairs):
    assert [padded_side(side) for side in (1, 32, 33, 512)] == [32, 32, 64, 512]
    pipeline = built(spec(pairs, data={"augment": "crop", "image_size": 20}))
    batch = batch_of(pipeline, [0, 1])
    assert batch.inputs["pixels"][0].shape == (3, 32, 32)
    assert (batch.targets[0][20:] == IGNORED).all() and (batch.targets[0][:, 20:] == IGNORED).all()
    whole = batch_of(pipeline, [2], split="eval")  # at its own scale
    assert whole.inputs["inside"] == [(30, 44)] and whole.inputs["pixels"][0].shape == (3, 32, 64)
    assert whole.targets[0].shape == (30, 44)


def test_masks_are_scaled_without_new_classes():
    _, classes = marked(40, 30)
    assert set(np.unique(fit_mask(classes, 13, 17))) <= set(np.unique(classes))


def test_worker_processes_make_the_same(pairs):
    examples = load_data(spec(pairs)).train
    reader = PairReader(examples.columns["image"], examples.columns["mask"], examples.where, None)
    decoded = replace(reader, decoded=[reader.read(index) for index in range(len(examples))])
    slow, fast = (SquareViewMaker(r, 32, "standard", 1) for r in (reader, decoded))
    assert fast.cheap and not slow.cheap
    plan = [np.array([1, 5]), np.array([2])]
    loaders = (ViewLoader(slow, 2, pin_memory=False), ViewLoader(fast, 0, pin_memory=False))
    for one, other in zip(*(loader.pixels(plan, 3) for loader in loaders), strict=True):
        assert torch.equal(one, other)
