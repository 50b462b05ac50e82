"""Views: the published evaluation preprocessing, and training views that depend on (seed, epoch, id)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision import models as zoo

from ptm.base import seeds
from ptm.config.model_ref import ModelRef
from ptm.vision import views
from ptm.vision.augmentation import Augmentation
from ptm.vision.classifier_plan import plan_classifier
from ptm.vision.loader import ViewLoader
from ptm.vision.views import evaluation_view, fits_memory, shift_and_mirror, view_name
from view_samples import picture, preprocessing, view_maker


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "efficientnet_v2_l", "regnet_y_400mf"])
@pytest.mark.parametrize("size", [(500, 375), (240, 700), (64, 64)])
def test_the_evaluation_view_is_that_of_torchvision_to_the_bit(name: str, size: tuple[int, int]) -> None:
    image, preset = picture(*size), zoo.get_model_weights(name).DEFAULT.transforms()
    p = plan_classifier(ModelRef(name=name)).preprocessing
    pixels = torch.from_numpy(evaluation_view(image, p).copy()).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (p.mean, p.std))
    assert torch.equal(((pixels / 255 - mean) / std)[0], preset(image))


def test_small_images_are_resized_whole() -> None:
    assert evaluation_view(picture(40, 20), preprocessing(32)).shape == (32, 32, 3)
    same = picture(32, 32)
    assert np.array_equal(evaluation_view(same, preprocessing(32)), np.asarray(same))


@pytest.mark.parametrize("mirror", [False, True])
def test_vectorised_crops_equal_a_loop_over_images(mirror: bool) -> None:
    n, side, pad = 40, 32, 4
    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    draws = seeds.uniforms(3, 0, np.arange(n), 3)
    cut = shift_and_mirror(pixels, draws, mirror=mirror)
    offsets = set()
    for i in range(n):
        padded = np.pad(pixels[i], ((pad, pad), (pad, pad), (0, 0)))
        down, right = int(draws[i, 0] * 9), int(draws[i, 1] * 9)
        expected = padded[down : down + side, right : right + side]
        if mirror and draws[i, 2] < 0.5:
            expected = expected[:, ::-1]
        assert np.array_equal(cut[i], expected)
        offsets.add((down, right))
    assert len(offsets) > 20 and {0, 8} <= {down for down, _ in offsets}


@pytest.mark.parametrize("side", [8, 28, 96])
def test_the_padding_is_an_eighth(side: int) -> None:
    pixels = np.full((2, side, side, 3), 255, np.uint8)
    cut = shift_and_mirror(pixels, np.array([[0.0, 0.0, 1.0], [0.999, 0.999, 1.0]]), mirror=True)
    pad = side // 8
    assert not cut[0, :pad].any() and not cut[0, :, :pad].any() and cut[0, pad:, pad:].all()
    assert not cut[1, -pad:].any() and not cut[1, :, -pad:].any() and cut[1, :-pad, :-pad].all()


CASES = [
    (a, s, k)
    for a in ("none", "crop", "standard", "trivial")
    for s, k in ((32, True), (32, False), (100, False))
]


@pytest.mark.parametrize(("augment", "image_size", "decoded"), CASES)
def test_a_view_is_a_function_of_seed_epoch_and_id(augment: str, image_size: int, decoded: bool) -> None:
    views_of = view_maker(augment, image_size, decoded=decoded)
    batch = views_of(2, np.array([3, 7, 5, 0]))
    assert batch.shape == (4, image_size, image_size, 3) and batch.dtype == np.uint8
    alone = view_maker(augment, image_size, decoded=decoded)(
        2, np.array([5])
    )  # another batch, another object
    assert np.array_equal(batch[2], alone[0])
    changes = augment != "none"
    ids = np.arange(12)
    assert np.array_equal(views_of(2, ids), views_of(3, ids)) != changes
    assert (
        np.array_equal(views_of(2, ids), view_maker(augment, image_size, decoded=decoded, seed=2)(2, ids))
        != changes
    )


@pytest.mark.parametrize("augment", ["none", "crop", "standard", "trivial"])
def test_stored_and_newly_decoded_small_images_give_the_same_views(augment: str) -> None:
    ids = np.array([1, 4, 2])
    assert np.array_equal(view_maker(augment, 32, decoded=True)(1, ids), view_maker(augment, 32)(1, ids))


@pytest.mark.parametrize("augment", ["standard", "trivial"])
def test_large_views_are_torchvisions_random_resized_crops(augment: str) -> None:
    ids = np.arange(12)
    cropped, shown = view_maker("crop", 100)(0, ids), view_maker(augment, 100)(0, ids)
    differ = [not np.array_equal(a, b) for a, b in zip(cropped, shown, strict=True)]
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(cropped, shown, strict=True)]
    assert any(differ)
    if augment == "standard":
        assert any(mirrored) and not all(differ)
        assert all(a == b for a, b in zip(differ, mirrored, strict=True))


def test_other_randomness_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = torch.rand(1)
    list(ViewLoader(view_maker("trivial", 100), 0, pin_memory=False).pixels([np.arange(4)], 0))
    loader = ViewLoader(view_maker("trivial", 100), 1, pin_memory=False)
    list(loader.pixels([np.arange(4)], 0))
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)


def test_what_is_kept_in_memory() -> None:
    assert fits_memory(50_000, 32, "standard") and fits_memory(5_000, 224, "none")
    assert not fits_memory(5_000, 224, "standard")
    assert not fits_memory(1_281_167, 64, "crop")
    assert fits_memory(views.MEMORY_LIMIT // (3 * 96 * 96), 96, "standard")


def test_the_name_of_a_view_says_all_that_determines_pixels_and_no_more() -> None:
    p = preprocessing(224)
    assert (
        view_name(p, Augmentation("crop")) == "image_size=224 resize=232 interpolation=bilinear augment=crop"
    )
    assert (
        len(
            {
                view_name(p, Augmentation()),
                view_name(p, Augmentation("crop")),
                view_name(preprocessing(32), Augmentation()),
            }
        )
        == 3
    )
