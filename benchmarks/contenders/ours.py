"""This project: `pipeline.features`, whose report says how long it took and how many pictures passed the network."""

import sys

from job import Job, answer, read_job

import pipeline


def main() -> None:
    job = read_job()
    _require_bfloat16(job)
    report = pipeline.features(labels=job.table, cache_dir=job.cache_dir, **job.spec)
    if report["failed"]:
        sys.exit(f"{report['failed']} pictures failed, the first: {report['failures'][0]}")
    answer(job, **{name: report[name] for name in ("seconds", "startup_seconds", "forward_passes")})


def _require_bfloat16(job: Job) -> None:
    """Leave where the processor lacks what is asked for: emulated, it would be no use and no comparison."""
    if job.precision == "bf16":
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            sys.exit("this processor has no bfloat16")


if __name__ == "__main__":
    main()
