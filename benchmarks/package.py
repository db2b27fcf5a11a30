"""The size of what is uploaded, and of what Lambda unpacks for every cold start."""

from __future__ import annotations

from benchmarks import packages
from benchmarks.tables import Progress, Row, Section, megabytes, ratio

GOAL = 0.30


def measure(_: int, progress: Progress) -> Section:
    """Ours, as built by default and with what PayPal and Apple need, against the naive build."""
    builds = (packages.naive, packages.ours, packages.ours_with_certificates)
    built = [build() for build in progress.over(builds, "packages")]
    naive = built[0]
    rows = []
    for kind, size in (("unzipped", naive.unzipped), ("zipped", naive.zipped)):
        rows.append(Row(f"{naive.title}, {kind}", megabytes(size)))
        for each in built[1:]:
            own = each.unzipped if kind == "unzipped" else each.zipped
            goal = GOAL if each.title == "ours" else None
            rows.append(Row(f"{each.title}, {kind}", megabytes(own), ratio(own / size), goal))
    return Section("Package", ("", "size", "ours / naive"), tuple(rows))
