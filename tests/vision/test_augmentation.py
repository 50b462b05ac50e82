"""Augmentation of training images: pure functions of (seed, epoch, id), and the papers' sums of targets."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from config_texts import IMAGE, only, parse
from helpers import StopAt, image_spec, last_state, run
from ptm.config.spec import DistillSpec, TeacherSpec
from ptm.errors import Interrupted
from ptm.metrics.training_loss import TrainingLoss
from ptm.vision import classification
from ptm.vision.augmentation import Augmentation, erase, mixture
from view_samples import view_maker

IDS = np.arange(12)
ALL = Augmentation("randaugment", color_jitter=0.3, random_erasing=0.5, mixup=0.4, cutmix=1.0)


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize(
    "how", [ALL, Augmentation("none", color_jitter=0.3), Augmentation("crop", mixup=0.2)]
)
def test_11_04_a_view_is_a_function_of_seed_epoch_and_id(size, decoded, how):
    maker = view_maker(how, size, decoded=decoded and size == 32)
    whole = maker(3, IDS)
    assert whole.shape == (12, size, size, 3) and whole.dtype == np.uint8
    alone = np.concatenate([maker(3, IDS[[i]]) for i in (7, 2)])
    assert np.array_equal(alone, whole[[7, 2]])
    assert not np.array_equal(maker(4, IDS), whole)
    assert not np.array_equal(replace(maker, seed=9)(3, IDS), whole)


def test_11_04_mixup_is_the_sum_of_two_views_and_of_two_targets():
    maker, plain = view_maker(Augmentation("crop", mixup=0.4), 32), view_maker("crop", 32)
    how = maker.mixture(2, IDS)
    assert sorted(how.partners) == list(IDS) and not how.boxes.any()
    assert ((how.shares >= 0) & (how.shares <= 1)).all() and len(set(how.shares)) == 12
    share = how.shares[:, None, None, None]
    expected = share * plain(2, IDS) + (1 - share) * plain(2, how.partners)
    assert np.abs(maker(2, IDS) - expected).max() <= 0.51
    targets = np.eye(3, dtype=np.float32)[IDS % 3]
    mixed = how.targets(targets, targets[how.partners])
    np.testing.assert_allclose(mixed.sum(1), 1, rtol=1e-6)
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    one, other = torch.from_numpy(IDS % 3), torch.from_numpy(how.partners % 3)
    shares = torch.from_numpy(how.shares).float()
    by_hand = shares * F.cross_entropy(logits, one, reduction="none")
    by_hand = by_hand + (1 - shares) * F.cross_entropy(logits, other, reduction="none")
    for loss in (TrainingLoss("class"), TrainingLoss("class", weights=torch.ones(2, 3))):
        torch.testing.assert_close(loss(logits, torch.from_numpy(mixed)), by_hand.sum())


def test_11_04_cutmix_pastes_a_part_and_counts_it_as_large_as_it_is():
    maker, plain = view_maker(Augmentation("none", cutmix=1.0), 32), view_maker("none", 32)
    how, views = maker.mixture(1, IDS), maker(1, IDS)
    own, others = plain(1, IDS), plain(1, how.partners)
    for row, (top, bottom, left, right) in enumerate(how.boxes):
        inside = np.zeros((32, 32), dtype=bool)
        inside[top:bottom, left:right] = True
        assert np.array_equal(views[row][inside], others[row][inside])
        assert np.array_equal(views[row][~inside], own[row][~inside])
        assert how.shares[row] == pytest.approx(1 - inside.mean())
    assert 0.2 < how.shares.mean() < 0.9


def test_11_04_with_both_each_image_goes_through_one_of_them():
    how = mixture(Augmentation(mixup=0.2, cutmix=1.0), np.arange(2000), 2000, 32, 1, 0)
    assert 0.4 < (how.boxes[:, 1] > how.boxes[:, 0]).mean() < 0.6
    only_mixed = mixture(Augmentation(mixup=0.2), np.arange(20000), 20000, 32, 1, 0).shares
    # Beta(a, a) has the mean 1/2 and the variance 1 / (8 a + 4).
    assert only_mixed.mean() == pytest.approx(0.5, abs=0.01)
    assert only_mixed.var() == pytest.approx(1 / (8 * 0.2 + 4), rel=0.03)


def test_11_04_erasing_leaves_the_others_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (400, 32, 32, 3), dtype=np.uint8)
    erased = erase(pixels, np.arange(400), 0.3, 1, 0)
    changed = (erased != pixels).any(-1)
    touched = changed.any((1, 2))
    assert 0.2 < touched.mean() < 0.4
    areas = changed[touched].mean((1, 2))
    assert areas.min() > 0.01 and areas.max() < 0.4


def test_11_04_what_is_not_asked_for_changes_no_name_and_no_pixel():
    assert Augmentation("crop").name == "crop" and Augmentation().random is False
    assert Augmentation("none", mixup=0.2).name == "none mixup=0.2"
    assert Augmentation("none", mixup=0.2).random


def test_11_04_where_they_mean_nothing():
    assert only(IMAGE, "data.mixup=0.2", "distill.method=dkd").what.startswith(
        "method: dkd goes by the one label"
    )
    assert parse(IMAGE, "distill=null", "teacher=null", "data.cutmix=1", "data.views=2").data.random_images
    text = IMAGE.replace("task: image-classification", "task: semantic-segmentation")
    text = text.replace("imagefolder:flowers", "masks:flowers")
    assert only(text, "data.mixup=0.2").what.startswith("data.mixup is for image-classification")


def built(spec):
    return classification.build(spec, classification.load_data(spec), model=spec.model.ref(), complete=False)


def test_11_04_a_teacher_looks_at_the_mixtures_of_its_student(tmp_path):
    spec = image_spec(tmp_path / "r", cutmix=1.0, mixup=0.2)
    pipeline = built(spec)
    assert pipeline.random_views and "mixup=0.2 cutmix=1" in pipeline.input_fingerprint
    (batch,) = pipeline.batches("train", [np.array([5, 1, 8])], 1)
    assert batch.targets.shape == (3, 10)
    torch.testing.assert_close(batch.targets.sum(1), torch.ones(3))
    (evaluated,) = pipeline.batches("eval", [np.array([5, 1])], 1)
    assert evaluated.targets.dtype == torch.int64


@pytest.mark.slow
def test_11_04_a_mixed_distillation_resumes_to_the_same_bits(tmp_path):
    run(image_spec(tmp_path / "teacher", epochs=1))
    changes = {
        "teacher": TeacherSpec(name=str(tmp_path / "teacher")),
        "distill": DistillSpec(audit="off"),
        "augment": "randaugment",
        "mixup": 0.2,
        "cutmix": 1.0,
        "random_erasing": 0.2,
        "color_jitter": 0.2,
        "class_weights": {"3": 2.0},
        "labels": tuple("0123456789"),
        "save_every_steps": 2,
    }
    run(image_spec(tmp_path / "whole", **changes))
    with pytest.raises(Interrupted):
        run(image_spec(tmp_path / "parts", **changes), reporter=StopAt(8))
    run(image_spec(tmp_path / "parts", **changes), mode="resume")
    assert last_state(tmp_path / "whole") == last_state(tmp_path / "parts")
