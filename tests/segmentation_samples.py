"""Small segmentation runs that the tests of vision share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptm.config.spec import DataSpec, ModelSpec, RunSpec, RuntimeSpec, TrainSpec
from ptm.vision.segmentation import SemanticSegmentation, build, load_data
from tiny.mask_samples import VALUES

LABELS = ("background", "disc", "box")
LRASPP = ModelSpec(name="lraspp_mobilenet_v3_large", weights="none")


def spec(
    folder: Path,
    model: ModelSpec = LRASPP,
    *,
    output: Path | str = "runs/x",
    data: dict | None = None,
    **train: Any,
) -> RunSpec:
    return RunSpec(
        version=1,
        task="semantic-segmentation",
        model=model,
        data=DataSpec(
            source=f"masks:{folder}",
            **(
                {
                    "train": "train",
                    "eval": "val",
                    "labels": LABELS,
                    "mask_values": VALUES,
                    "ignore_value": 255,
                    "image_size": 32,
                }
                | (data or {})
            ),
        ),
        train=TrainSpec(**({"steps": 1, "batch_size": 4, "learning_rate": 1e-3} | train)),
        runtime=RuntimeSpec(device="cpu", threads=1),
        output=str(output),
    )


def built(chosen: RunSpec, *, complete: bool = False, **how: Any) -> SemanticSegmentation:
    data = how.pop("data", None) or load_data(chosen)
    return build(chosen, data, model=how.pop("model", chosen.model.ref()), complete=complete)


def batch_of(pipeline, ids, split="train", epoch=0):
    (batch,) = pipeline.batches(split, [np.array(ids)], epoch)
    return batch
