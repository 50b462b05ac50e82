"""docs/architecture.md quotes the code: what it quotes is what is there."""

import re
from pathlib import Path

from test_imports import LAYERS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_quoted_training_command_is_the_code():
    quoted = PAGE.split("```python\n")[1].split("```")[0]
    assert quoted in (ROOT / "ptm" / "experiment" / "train.py").read_text(encoding="utf-8")


def test_the_packages_stand_in_the_order_of_the_layers():
    table = PAGE.split("## Packages, from the bottom up")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    pages = [
        tuple(name.strip(" `").removesuffix(".py").strip("/") for name in row.split(",")) for row in rows
    ]
    assert pages == [layer for layer in LAYERS if layer != ("__main__",)]


def test_every_module_it_names_is_there():
    for name in re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", PAGE):
        assert (ROOT / "ptm" / name).exists() or (ROOT / name).exists(), name


# Modules that are tested through another one's tests, and by which.
TESTED_ELSEWHERE = {
    "experiment/rejection.py": "tests/experiment/test_decide.py",
    "experiment/insights.py": "tests/text/test_insight.py",
    # What a command prints is tested with what it does.
    "cli/batch.py": "tests/experiment/test_batch.py",
    "cli/batch_progress.py": "tests/experiment/test_batch.py",
    "cli/compare.py": "tests/experiment/test_compare.py",
    "training/evaluation.py": "tests/test_engine.py",
    "training/gradients.py": "tests/test_engine.py",
    "cli/track.py": "tests/run/test_trackers.py",
    "cli/fetch.py": "tests/experiment/test_fetch.py",
    "config/examples.py": "tests/cli/test_init.py",
    "data/guess.py": "tests/cli/test_init.py",
    "data/guess_rows.py": "tests/cli/test_init.py",
    "data/guess_table.py": "tests/cli/test_init.py",
    "data/guess_text.py": "tests/data/test_readers.py",
    "data/span_words.py": "tests/data/test_annotated.py",
    "data/annotation_tools.py": "tests/data/test_annotated.py",
    "experiment/draft.py": "tests/cli/test_init.py",
    "quality/answers.py": "tests/quality/test_look.py",
    "quality/duplicates.py": "tests/quality/test_look.py",
    "quality/figures.py": "tests/quality/test_look.py",
    "quality/findings.py": "tests/quality/test_look.py",
    "report/comparison.py": "tests/experiment/test_compare.py",
    # A server is asked as a whole.
    **{
        f"serve/{name}.py": "tests/serve/test_app.py"
        for name in ("answers", "figures", "guard", "openapi", "requests", "settings")
    },
    "serve/command.py": "tests/cli/test_serve.py",
    "experiment/predictor.py": "tests/serve/test_app.py",
    # An export is made, read and refused as a whole.
    "cli/export.py": "tests/experiment/test_export.py",
    "experiment/export_files.py": "tests/experiment/test_export.py",
    "experiment/footprint.py": "tests/experiment/test_export.py",
    "experiment/trained.py": "tests/experiment/test_export.py",
    "export/calibration.py": "tests/experiment/test_export.py",
    "export/comparison.py": "tests/experiment/test_export.py",
    "export/pipelines.py": "tests/experiment/test_export.py",
    "export/record.py": "tests/experiment/test_export.py",
    "export/session.py": "tests/experiment/test_export.py",
    "export/settings.py": "tests/export/test_programs.py",
    **{
        f"export/programs/{name}.py": "tests/export/test_programs.py"
        for name in (
            "causal_lm",
            "image_classification",
            "masked_lm",
            "question_answering",
            "semantic_segmentation",
            "text_classification",
            "text_similarity",
            "token_classification",
        )
    },
}


def test_every_module_has_its_tests_in_a_file_of_its_name():
    modules = [path.relative_to(ROOT / "ptm") for path in sorted((ROOT / "ptm").rglob("*.py"))]
    names = {str(module) for module in modules if not module.stem.startswith("__")}
    missing = {
        name for name in names if not (ROOT / "tests" / name).with_name(f"test_{Path(name).name}").is_file()
    }
    assert missing == set(TESTED_ELSEWHERE), "a module ptm/a/b.py has its tests in tests/a/test_b.py"
    assert all((ROOT / place).is_file() for place in TESTED_ELSEWHERE.values())
