"""A record of a run, for tests of what is done with records."""

from ptm.run.manifest import Digests, Hardware, Manifest, RuntimeRecord

RECORD = Manifest(
    ptm="0.1.0",
    task="text-classification",
    created="2026-01-01T00:00:00+00:00",
    command="ptm finetune run.yaml",
    python="3.11.7",
    packages={"torch": "2.11"},
    hardware=Hardware(platform="Linux", cpu="a", cores=2, cpu_capability="AVX2", gpu=None, cuda=None),
    runtime=RuntimeRecord(
        device="cpu",
        precision="fp32",
        threads=1,
        processes=1,
        deterministic=True,
        interop_threads=1,
        environment={"OMP_NUM_THREADS": None},
    ),
    torch_build="",
    seed=42,
    git=None,
    digests=Digests(config="3" * 64, data={"train": "2" * 64}, weights={"model": "1" * 64}),
    labels=("a", "b"),
    data_files={"train.csv": "0" * 64},
    loaded={"model": "1" * 64},
    revisions={"model": None},
)
