"""stories.py WORK [REGEX] > RESULTS: tells stories by the unmodified `openstack` client to the cloud of WORK.

A story is a file of tests/compat/stories; docs/conformance.md has one more, in its table of old verbs. Its lines:

    openstack server show first     a command, as in a shell; `$(openstack ...)` is what another one prints
      ~ ACTIVE                      what it prints must match this expression
      ! ERROR                       must not
      fails: no such                it ends with an error whose words match
      within 60                     try again for so many seconds until all that is so

Each command is one test, named after its story and its first words. After a failure the story goes on, as far as it can.
RESULTS: status, name, reason; tab separated. The client is imported once; each command runs in a process of its own."""

import base64
import itertools
import os
import pathlib
import re
import shlex
import struct
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/conformance.md"


class Step:
    def __init__(self, command):
        self.command, self.has, self.lacks, self.fails, self.seconds = command, [], [], None, 0


def read_story(path):
    steps = []
    for line in path.read_text().splitlines():
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if words.startswith("openstack "):
            steps.append(Step(words))
        elif words.startswith("~ "):
            steps[-1].has.append(words[2:])
        elif words.startswith("! "):
            steps[-1].lacks.append(words[2:])
        elif words.startswith("fails: "):
            steps[-1].fails = words[7:]
        elif words.startswith("within "):
            steps[-1].seconds = int(words[7:])
        else:
            sys.exit(f"{path}: what is {words!r}?")
    return steps


def read_table(path):
    """Rows `| old verb | `openstack ...` | what it prints |` of the page."""
    steps = []
    for row in re.findall(r"^\| `[^|`]+` \| `(openstack [^|`]+)` \| `([^|`]+)` \|$", path.read_text(), re.M):
        steps.append(Step(row[0]))
        steps[-1].has.append(row[1])
    if not steps:
        sys.exit(f"{path} has no table of old verbs any more")
    return steps


def run(arguments):
    """The client with these arguments, in a child: its exit code and all that it printed."""
    from openstackclient import shell

    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                code = shell.main(arguments)
            except SystemExit as e:
                code = e.code if isinstance(e.code, int) else 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code or 0)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode(errors="replace").strip()


def attempt(step):
    """Why the step is not as it should be, or nothing."""
    command = step.command
    for inner in re.findall(r"\$\((openstack [^()]+)\)", command):
        code, output = run(shlex.split(inner)[1:])
        if code != 0 or not output or "\n" in output:
            return f"{inner}: {output or 'printed nothing'}"
        command = command.replace(f"$({inner})", output)
    code, output = run(shlex.split(command)[1:])
    if step.fails is None and code != 0:
        return f"exit code {code}: {output}"
    if step.fails is not None:
        if code == 0:
            return f"was to fail, and printed: {output}"
        return "" if re.search(step.fails, output) else f"no '{step.fails}' in: {output}"
    for words in step.has:
        if not re.search(words, output, re.M):
            return f"no '{words}' in: {output}"
    for words in step.lacks:
        if re.search(words, output, re.M):
            return f"'{words}' in: {output}"
    return ""


def first_words(command):
    """Of a command, after the client's own options."""
    words = shlex.split(command)[1:]
    while words[0].startswith("--os-"):
        words = words[2:]
    return itertools.takewhile(lambda word: re.fullmatch(r"[a-z]+", word), words[:4])


def tell(story, steps):
    names = set()
    for step in steps:
        base = name = f"{story}.{'_'.join(first_words(step.command))}"
        n = 1
        while name in names:
            n += 1
            name = f"{base}_{n}"
        names.add(name)
        start, until = time.monotonic(), time.monotonic() + step.seconds
        while (why := attempt(step)) and time.monotonic() < until:
            time.sleep(0.5)
        took = time.monotonic() - start
        print("failed" if why else "passed", name, " ".join(why.split())[:600], sep="\t", flush=True)
        print(f"  {'FAIL' if why else 'ok  '} {story}: {step.command[10:90]:<82}{took:6.1f} s", file=sys.stderr)
        if why:
            print("\n".join("       " + line for line in why.splitlines()[-12:]), file=sys.stderr)


def main():
    work = pathlib.Path(sys.argv[1])
    chosen = re.compile(sys.argv[2] if len(sys.argv) > 2 else "")
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(work / "state/clouds.yaml")
    os.environ["OS_CLOUD"] = "ferrostack"
    # The width of tables, and files that the stories name.
    os.environ["COLUMNS"] = "200"
    os.chdir(work)
    pathlib.Path("picture.raw").write_bytes(b"\0" * 4096)
    parts = (b"ssh-ed25519", bytes(range(32)))
    key = base64.b64encode(b"".join(struct.pack(">I", len(p)) + p for p in parts)).decode()
    pathlib.Path("key.pub").write_text(f"ssh-ed25519 {key} story\n")
    stories = {"old_verbs": read_table(PAGE)}
    for path in sorted((ROOT / "tests/compat/stories").glob("*.story")):
        stories[path.stem] = read_story(path)
    for story, steps in stories.items():
        if chosen.search(story):
            tell(story, steps)


main()
