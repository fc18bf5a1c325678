"""tempest_results.py LIST < SUBUNIT > RESULTS: one line a test of Tempest: status, name, reason (tab separated).

LIST names the tests that were chosen, a line each. A class that fails or skips while it sets up says so once, in its own
name: here each of its tests says it. A chosen test of which nothing was heard has failed."""

import re
import sys

import testtools
from subunit import ByteStreamToStreamResult

STATUS = {"success": "passed", "skip": "skipped", "xfail": "passed"}


def bare(name):
    """Without the ids and labels in brackets; the name of a scenario, in parentheses, stays."""
    return re.sub(r"\[[^\]]*\]", "", name)


def reason(test):
    """Why a test was skipped, or the last line of what it failed with."""
    details = test["details"]
    if test["status"] == "skip":
        return details["reason"].as_text() if "reason" in details else "no reason"
    traces = [d.as_text() for key, d in details.items() if key.startswith("traceback")]
    lines = "\n".join(traces).strip().splitlines()
    return lines[-1] if lines else ""


def main():
    chosen = [bare(line.strip()) for line in open(sys.argv[1]) if line.strip()]
    heard = []
    result = testtools.StreamToDict(heard.append)
    result.startTestRun()
    ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
    result.stopTestRun()

    told, classes, fixtures = {}, {}, []
    for test in heard:
        name = test["id"]
        if name == "stdout":
            continue
        said = (STATUS.get(test["status"], "failed"), " ".join(reason(test).split()))
        if name.startswith("setUpClass"):
            classes[name.split("(")[-1].rstrip(")")] = said
        elif name.startswith("tearDownClass"):
            # What a class leaves behind is a failure of its own.
            if said[0] == "failed":
                fixtures.append((*said[:1], name.replace(" ", ""), said[1]))
        else:
            told[bare(name)] = said
        if said[0] == "failed" and "--traces" in sys.argv:
            words = [d.as_text() for key, d in test["details"].items() if key.startswith("traceback")]
            print(f"--- {name}", *words, sep="\n", file=sys.stderr)
    # What was heard of and not listed is not lost.
    for name in chosen + sorted(told.keys() - set(chosen)):
        # Names of scenarios stand in parentheses after the test's.
        of_class = name.split("(")[0].rpartition(".")[0]
        status, why = told.get(name) or classes.get(of_class) or ("failed", "nothing was heard of it")
        print(status, name, "" if status == "passed" else why, sep="\t")
    for fixture in fixtures:
        print(*fixture, sep="\t")


main()
