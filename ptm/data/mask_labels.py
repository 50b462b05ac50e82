"""Which classes masks have, and what stands for each in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ptm.config.spec import DataSpec
from ptm.data.labels import choose_labels
from ptm.data.polygons import BACKGROUND
from ptm.errors import ConfigError, DataError, listing

UNKNOWN = 254  # of pixels that count, though nobody has said what they are
_MOST_VALUES = 64  # with more different values, a mask is a picture


def named_labels(
    data: DataSpec,
    labels: tuple[str, ...] | None,
    occurring: Collection[str],
    stated: Sequence[str],
) -> tuple[str, ...]:
    """Labels of colours or shapes that have names: those ``stated``, else those ``occurring``, the background first; in
    the order of ``data.labels`` or of a trained model, where there is one."""
    others = [name for name in (stated or sorted(occurring)) if name != BACKGROUND]
    background = [BACKGROUND] if BACKGROUND in {*occurring, *stated} else []
    there = tuple(dict.fromkeys([*background, *others]))
    if data.ignore_label is not None and data.ignore_label not in there:
        raise ConfigError(
            f"nothing is called {data.ignore_label!r}",
            where="data.ignore_label",
            expected=f"one of {listing(there)}",
        )
    known = tuple(name for name in there if name != data.ignore_label)
    names = choose_labels(data.labels, labels, known, lambda: known)
    foreign = [name for name in data.labels or () if name not in known]
    if foreign:
        raise ConfigError(
            f"nothing is called {foreign[0]!r}", where="data.labels", expected=f"of {listing(known)}"
        )
    if len(names) < 2:
        raise DataError(
            f"there is one class only: {listing(names)}", where=data.source, expected="at least two classes"
        )
    return names


def label_values(
    data: DataSpec, labels: tuple[str, ...] | None, *, occurring: Sequence[int], where: str
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Label names, and the value in a mask of each.

    Where neither the config nor a trained model names labels, they are named by their values. Values:
    ``data.mask_values``, else a model's names where these are numbers, else 0, 1, 2, …; where nothing is said, those
    that are ``occurring`` in the masks.
    """
    names = choose_labels(
        data.labels, labels, None, lambda: tuple(map(str, data.mask_values or _few(occurring, where)))
    )
    values = data.mask_values
    if values is None:
        numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
        named_by_value = data.labels is None and len(numbers) == len(names)
        values = tuple(numbers) if named_by_value else tuple(range(len(names)))
    if len(values) != len(names):
        raise ConfigError(
            f"{len(values)} mask values for {len(names)} labels ({listing(names)})",
            where="data.mask_values",
            expected="the value of each label, in the order of the labels",
        )
    if len(names) < 2:
        raise DataError(
            f"every pixel that counts has the value {names[0]}" if names else "no pixel counts",
            where=where,
            expected="at least two classes",
        )
    if len(set(values)) < len(values) or data.ignore_value in values or len(values) > UNKNOWN:
        raise ConfigError(
            f"mask values {', '.join(map(str, values))}"
            + (f", ignored {data.ignore_value}" if data.ignore_value is not None else ""),
            where="data.mask_values",
            expected=f"at most {UNKNOWN} different numbers, and data.ignore_value none of them",
        )
    return names, values


def _few(values: Sequence[int], where: str) -> Sequence[int]:
    """The values, or DataError where they are too many to be classes."""
    if len(values) > _MOST_VALUES:
        raise DataError(
            f"these masks hold {len(values)} different values",
            where=where,
            expected="a value a class",
            cure="do not smooth or scale masks; name the values that are classes in data.mask_values",
        )
    return values
