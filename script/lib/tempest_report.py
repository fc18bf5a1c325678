"""Reads a subunit v2 stream from stdin and prints what failed, what was skipped and why, and the counts per service."""

import collections
import sys

import testtools
from subunit import ByteStreamToStreamResult

tests = []
result = testtools.StreamToDict(tests.append)
result.startTestRun()
ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
result.stopTestRun()

counts = collections.defaultdict(collections.Counter)
reasons = collections.Counter()
failed = []
for test in tests:
    name = test["id"]
    if name == "stdout":
        continue
    # A fixture of a class that fails or skips is reported under the class's name.
    inner = name.split("(")[-1].rstrip(")") if name.startswith(("setUpClass", "tearDownClass")) else name
    parts = inner.split(".")
    area = parts[2] if parts[:2] == ["tempest", "api"] else ".".join(parts[:2])
    status = {"success": "passed", "skip": "skipped", "xfail": "passed"}.get(test["status"], "failed")
    if name.startswith("tearDownClass") and status == "passed":
        continue
    counts[area][status] += 1
    if status == "skipped":
        reason = test["details"].get("reason")
        reasons[reason.as_text().strip() if reason else "no reason"] += 1
    if status == "failed":
        failed.append((name, "\n".join(d.as_text() for k, d in test["details"].items() if k.startswith("traceback"))))

verbose = "--traces" in sys.argv
for name, trace in sorted(failed):
    lines = trace.strip().splitlines()
    print(f"FAILED {name}\n       {lines[-1] if lines else ''}")
    if verbose:
        print(trace)
for reason, n in reasons.most_common():
    print(f"skipped {n:4}  {reason}")
print(f"\n{'':<16}{'passed':>8}{'failed':>8}{'skipped':>8}")
total = collections.Counter()
for area, c in sorted(counts.items()):
    total += c
    print(f"{area:<16}{c['passed']:>8}{c['failed']:>8}{c['skipped']:>8}")
print(f"{'all':<16}{total['passed']:>8}{total['failed']:>8}{total['skipped']:>8}")
print(f"\n{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
sys.exit(1 if failed or not total["passed"] else 0)
