from pathlib import Path

from tiny.samples import shape_mixtures, write_parquet


def make(folder: Path) -> None:
    for name, count, seed in (("train", 48, 1), ("val", 24, 2)):
        rows = shape_mixtures(count, seed)
        write_parquet(folder / f"{name}.parquet", image=[png for png, _ in rows], shapes=[s for _, s in rows])


def strangers_state(model: Path) -> dict:
    from safetensors.torch import load_file

    return load_file(model / "model.safetensors")
