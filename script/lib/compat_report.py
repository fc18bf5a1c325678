"""compat_report.py SUITE RESULTS [--whole REGEX] [--record]: what a suite's run says beside what was recorded of it.

RESULTS has a line a test: status (passed, failed, skipped), name, reason; tab separated. The record is
tests/compat/baseline/SUITE.txt: status, class, its tests, and the reason if they were skipped. Prints failures, each
reason of a skip, counts, and the differences; ends with 1 if a test is worse than recorded, or fails and is not known to.

  --whole REGEX  the run was of all tests whose names match: recorded ones that were not run are gone
  --record       writes the record, and the counts in docs/conformance.md"""

import argparse
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASELINE = ROOT / "tests/compat/baseline"
PAGE = ROOT / "docs/conformance.md"
WORDS = ("passed", "failed", "skipped")


def read_results(path):
    tests = {}
    for line in path.read_text().splitlines():
        status, name, why = (line.split("\t") + [""])[:3]
        tests[name] = (status, why)
    return tests


def split(name):
    """A test's class and its own name; scenarios may have dots in their parentheses."""
    head, paren, tail = name.partition("(")
    of_class, _, own = head.rpartition(".")
    return of_class, own + paren + tail


def read_baseline(path):
    tests = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("#"):
            continue
        status, of_class, names, why = (line.split("\t") + ["", ""])[:4]
        for name in names.split(" "):
            tests[f"{of_class}.{name}" if of_class else name] = (status, why)
    return tests


def write_baseline(path, tests):
    groups = collections.defaultdict(list)
    for name, (status, why) in tests.items():
        of_class, own = split(name)
        groups[status, of_class, why if status == "skipped" else ""].append(own)
    lines = ["# Written by script/compat --record: status, class, tests, reason of a skip."]
    for (status, of_class, why), names in sorted(groups.items(), key=lambda g: (g[0][1], g[0][0], g[0][2])):
        lines.append("\t".join([status, of_class, " ".join(sorted(names))] + ([why] if why else [])))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def area(suite, name):
    parts = name.split(".")
    if suite == "tempest":
        return parts[2] if parts[:2] == ["tempest", "api"] else parts[1]
    if suite.endswith("-plugin"):
        return parts[2]
    return parts[0]


def counts(suite, tests):
    table = collections.defaultdict(collections.Counter)
    for name, (status, _) in tests.items():
        table[area(suite, name)][status] += 1
    return table


def print_counts(suite, tests):
    table = counts(suite, tests)
    print(f"\n{'':<16}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for words, c in [*sorted(table.items()), ("all", sum(table.values(), collections.Counter()))]:
        print(f"{words:<16}{c['passed']:>8}{c['failed']:>8}{c['skipped']:>8}")


def write_page():
    """The table of counts between the two marks of docs/conformance.md."""
    rows = ["| suite | area | passed | failed | skipped |", "|---|---|--:|--:|--:|"]
    for path in sorted(BASELINE.glob("*.txt")):
        for words, c in sorted(counts(path.stem, read_baseline(path)).items()):
            rows.append(f"| {path.stem} | {words} | " + " | ".join(str(c[w]) for w in WORDS) + " |")
    before, mark, rest = PAGE.read_text().partition("<!-- counts -->\n")
    _, end, after = rest.partition("<!-- end of counts -->\n")
    if not mark or not end:
        sys.exit(f"{PAGE} has lost the marks around its counts")
    PAGE.write_text(before + mark + "\n".join(rows) + "\n" + end + after)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("suite")
    p.add_argument("results", type=pathlib.Path)
    p.add_argument("--whole")
    p.add_argument("--record", action="store_true")
    args = p.parse_args()
    path = BASELINE / f"{args.suite}.txt"
    now, before = read_results(args.results), read_baseline(path)
    now = {name.replace(" ", "_"): told for name, told in now.items()}

    reasons = collections.Counter(why for status, why in now.values() if status == "skipped")
    for why, n in sorted(reasons.items(), key=lambda r: (-r[1], r[0])):
        print(f"skipped {n:4}  {why}")
    worse, better, known = [], [], 0
    for name, (status, why) in sorted(now.items()):
        was = before.get(name, ("not recorded", ""))[0]
        if status == "failed":
            print(f"FAILED {name} (was {was})\n       {why[:300]}")
            known += was == "failed"
        if (status == "failed" and was != "failed") or (status == "skipped" and was == "passed"):
            worse.append(f"{name}: {was}, now {status}")
        if status == "passed" and was in ("failed", "skipped"):
            better.append(f"{name}: {was}, now passed")
    gone = []
    if args.whole is not None:
        gone = [name for name in before if name not in now and re.search(args.whole, name)]
        worse += [f"{name}: {before[name][0]}, now gone" for name in gone if before[name][0] == "passed"]
    for title, lines in (("better than recorded", better), ("WORSE than recorded", worse)):
        if lines:
            print(f"\n{title}:", *sorted(lines), sep="\n  ")
    print_counts(args.suite, now)
    if args.record:
        write_baseline(path, {**{n: t for n, t in before.items() if n not in gone}, **now})
        write_page()
        print(f"\nrecorded in {path.relative_to(ROOT)}")
    total = collections.Counter(status for status, _ in now.values())
    print(f"\n{known} of the failures are known, {len(worse)} tests are worse than recorded, {len(better)} better")
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"{total['passed']} passed, {total['failed']} failed{skipped}")
    sys.exit(1 if (worse and not args.record) or not now else 0)


main()
