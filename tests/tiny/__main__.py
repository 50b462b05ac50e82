"""``make tiny``: the data of configs/tiny/, in configs/tiny/data/."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import CONFIGS, NAMES, module_of

if __name__ == "__main__":
    for name in NAMES:
        folder = CONFIGS / "data" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        module_of(name).make(folder)
        print(folder)
