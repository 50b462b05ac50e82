"""What an evaluation says of a model that finds instances: COCO's average precision of masks, and that of boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ptm.data.instances import as_text, encoded
from ptm.metrics.detection import Boxes, DetectionMetrics
from ptm.pipeline import Prediction


class InstanceMetrics(DetectionMetrics):
    """``mask_map``, ``mask_map50`` … are the values of :class:`DetectionMetrics` where two objects overlap as far as
    their masks do (COCO's ``segm``); ``map``, ``map50`` … are those of their boxes."""

    def _there(self, target: Mapping[str, Any]) -> Boxes:
        return replace(super()._there(target), masks=tuple(encoded(target["masks"].cpu().numpy())))

    def compute(self) -> dict[str, float]:
        boxes = super().compute()
        return {f"mask_{name}": value for name, value in self._values("segm").items()} | boxes

    def predictions(self) -> Iterator[Prediction]:
        """As of boxes, and ``masks`` of what is found, ``target_masks`` of what is there: run-length codes of COCO's,
        ``{"size": [height, width], "counts": "…"}``, one a box."""
        for row in super().predictions():
            found, truth = self._detections[row["id"]], self._truth.get(row["id"])
            assert found.masks is not None
            row["masks"] = [as_text(found.masks[k]) for k in self._told(found)]
            if truth is not None:
                assert truth.masks is not None
                row["target_masks"] = [as_text(code) for code in truth.masks]
            yield row
