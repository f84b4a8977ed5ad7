"""This project: `pipeline.features`, whose report says how long it took and how many pictures passed the network."""

import sys

from job import answer, read_job

import pipeline


def main() -> None:
    job = read_job()
    report = pipeline.features(labels=job.table, cache_dir=job.cache_dir, **job.spec)
    if report["failed"]:
        sys.exit(f"{report['failed']} pictures failed, the first: {report['failures'][0]}")
    answer(job, **{name: report[name] for name in ("seconds", "startup_seconds", "forward_passes")})


if __name__ == "__main__":
    main()
