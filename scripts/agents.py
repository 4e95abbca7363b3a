"""Coding agents against lmx: scripts/agents.py installs each one and runs it through a scripted task.

    .venv/bin/python scripts/agents.py --folder /somewhere/outside [--agent codex] [--family json_tools] [--write]

The daemon and its worker are the real ones. The model is scripted: it calls the agent's shell tool twice in the
format of a tool-call family, and then answers. Results are kept in the folder; --write makes docs/agents-matrix.md of
them.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import msgspec
from agent_programs import AGENTS, CONTEXT, Agent, Place

from tests.agent_model import TEMPLATE
from tests.end_to_end.running import Daemon
from tests.families import CALL_MARKERS, FAMILIES, Family
from tests.models import cached_snapshot
from tests.scripted import build_scripted

PAGE = ROOT / "docs" / "agents-matrix.md"
RUN_SECONDS, INSTALL_SECONDS = 400, 900
NO_INSTALLATION = 3
"""Exit code if an agent cannot be installed."""
TASK = "Make the file made.txt. This is casestart."
MADE = "made.txt"
EDITS = {"": f"{MADE}\n```\nwrong\n```\n", "casewrong": f"{MADE}\n```\nright\n```\n"}
"""Texts of the model for aider, which reads files out of the answer. Its test command asks for the second one."""


@dataclass(frozen=True)
class Result:
    """One run of an agent."""

    agent: str
    version: str
    family: str
    passed: bool
    turns: int
    reused: float
    """Smallest share of a prompt, after the first one, that came from the prefix cache."""
    note: str = ""


def main() -> int:
    """Run the agents, print the results, and return 1 if one failed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, required=True, help="where agents and results are kept for later runs")
    parser.add_argument("--agent", action="append", choices=[agent.name for agent in AGENTS])
    parser.add_argument("--family", action="append", choices=[family.label for family in FAMILIES])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = parser.parse_args()
    agents = [agent for agent in AGENTS if not given.agent or agent.name in given.agent]
    families = [family for family in FAMILIES if not given.family or family.label in given.family]
    kept = given.folder / "results.json"
    results = msgspec.json.decode(kept.read_bytes(), type=list[Result]) if kept.exists() else []
    passed = True
    for agent in agents:
        for result in results_of(agent, families, given.folder):
            print(f"{result.agent} {row(result)}", flush=True)
            passed &= result.passed
            same = (result.agent, result.family)
            results = [*(other for other in results if (other.agent, other.family) != same), result]
            kept.write_bytes(msgspec.json.encode(results))
    if given.write:
        PAGE.write_text(page(results))
    return 0 if passed else 1


def results_of(agent: Agent, families: list[Family], folder: Path) -> Iterator[Result]:
    """Install an agent, and yield its result for each family. An agent without tools has one result."""
    program = installed(agent, folder)
    scratch = folder.resolve() / "runs" / agent.name
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    version = version_of(program, scratch)
    wanted: list[Family | None] = [*families] if agent.tool else [None]
    cache = scratch / "cache"
    for family in wanted:
        build(agent, family, cached_snapshot(cache, f"tests/{label(family)}"))
    daemon = Daemon(environment={"HF_HUB_CACHE": str(cache)}, config="[engine]\nwarm_spare = false\n").start()
    try:
        for family in wanted:
            yield tried(agent, version, family, program, daemon, scratch / label(family))
    finally:
        daemon.stop()


def label(family: Family | None) -> str:
    return family.label if family else "edits"


def installed(agent: Agent, folder: Path) -> Path:
    """Install the agent below `folder` if it is not there, and return its program."""
    place = folder.resolve() / agent.name
    npm = agent.registry == "npm"
    program = place / ("node_modules/.bin" if npm else "bin") / agent.program
    if not program.exists():
        place.mkdir(parents=True, exist_ok=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", agent.package]
        for command in (
            [["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), agent.package]]
            if npm
            else [[sys.executable, "-m", "venv", str(place)], pip]
        ):
            try:
                subprocess.run(command, check=True, timeout=INSTALL_SECONDS, stdout=subprocess.DEVNULL)
            except (OSError, subprocess.SubprocessError) as error:
                print(f"{agent.name} cannot be installed: {error}", file=sys.stderr)
                sys.exit(NO_INSTALLATION)
    return program


def version_of(program: Path, home: Path) -> str:
    """Return the version that the program prints."""
    environment = os.environ | {"HOME": str(home)}
    done = subprocess.run([program, "--version"], env=environment, capture_output=True, text=True, timeout=120)
    return next((word for word in done.stdout.split() if word[0].isdigit()), "?")


def build(agent: Agent, family: Family | None, folder: Path) -> None:
    """Write the scripted model. Each script is chosen by a word that the prompt has from that turn on."""
    if family is None:
        build_scripted(folder, EDITS, template=TEMPLATE, max_position_embeddings=CONTEXT)
        return

    def called(command: str) -> str:
        return family.write([(agent.tool, agent.arguments(command))])

    scripts = {
        "": "Nothing to do.",
        "casestart": called(f"echo casemade > {MADE}"),
        "casemade": called(f"cat {MADE} && echo caseread"),
        "caseread": family.content("The file is made."),
    }
    build_scripted(
        folder,
        scripts,
        decoder=family.decoder,
        special=[*family.special, *(token for token in family.think or () if token.count("|") < 3)],
        template=template_of(family),
        settings=family.settings,
        max_position_embeddings=CONTEXT,
    )


def template_of(family: Family) -> str:
    """Return a template that renders tools, calls and results, and that has the family's mark and no other one."""
    if set(CALL_MARKERS) <= set(family.special) and family.name == "json_tools":
        return TEMPLATE
    plain = TEMPLATE.replace("<tool_call>", "[call]").replace("</tool_call>", "[end]").replace("tool_call.name", "")
    return plain.replace("<think>", "").replace("</think>", "\n") + "{#- " + family.mark + " -#}"


def tried(agent: Agent, version: str, family: Family | None, program: Path, daemon: Daemon, folder: Path) -> Result:
    """Run the agent once, in a new home and a new folder, and return how it went."""
    model = f"tests/{label(family)}"
    place, work = Place(daemon.address, model, folder / "home"), folder / "work"
    for made in (place.home, work):
        made.mkdir(parents=True)
    agent.configure(place)
    command = [str(program), *agent.options(place), TASK]
    begun = time.time()
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=agent.run_environment(place),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        code, said = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        code, said = -1, f"no end after {RUN_SECONDS} s: {error.stdout or b''!r}"
    (folder / "output.txt").write_text(said)
    turns = [record for record in records(daemon, model) if record["at"] >= begun - 1]
    return judged(agent, version, label(family), code, said, work / MADE, turns)


def records(daemon: Daemon, model: str) -> list[dict[str, Any]]:
    """Return the daemon's records of the model's requests, the oldest first."""
    found = daemon.admin("GET", f"/admin/history?model={model}&limit=100")
    return sorted(found, key=lambda record: record["at"])


def judged(
    agent: Agent, version: str, family: str, code: int, said: str, made: Path, turns: list[dict[str, Any]]
) -> Result:
    """Return the result: the file has the right text, the agent ended well, and each later turn reused the prompt."""
    largest = max((record.get("prompt_tokens") or 0 for record in turns), default=0)
    main = [record for record in turns if (record.get("prompt_tokens") or 0) > largest / 2]  # no titles
    reused = min(((record.get("cached_tokens") or 0) / record["prompt_tokens"] for record in main[1:]), default=0.0)
    wanted = "casemade" if agent.tool else "right"
    faults = [
        text
        for text, is_so in (
            (f"exit code {code}", code != 0),
            (f"{MADE} is missing", not made.exists()),
            (f"{MADE} is wrong", made.exists() and made.read_text().strip() != wanted),
            ("a later turn computed its whole prompt", len(main) > 1 and reused < 0.3),
            ("the last answer is not shown", bool(agent.tool) and "The file is made." not in said),
            *(
                (f"{record['outcome']}: {record.get('message', '')}", record["outcome"] != "finished")
                for record in turns
            ),
        )
        if is_so
    ]
    return Result(agent.name, version, family, not faults, len(main), reused, "; ".join(dict.fromkeys(faults)))


def row(result: Result) -> str:
    """Return a line of the table."""
    state = "works" if result.passed else "fails"
    return f"| {result.family} | {state} | {result.turns} | {result.reused:.0%} | {result.note} |"


def page(results: list[Result]) -> str:
    """Return the page."""
    parts = [PREFACE]
    order = [family.label for family in FAMILIES] + [label(None)]
    for name in (agent.name for agent in AGENTS):
        own = sorted((each for each in results if each.agent == name), key=lambda each: order.index(each.family))
        if not own:
            continue
        parts += [
            f"\n## {name} {own[0].version}\n",
            "| family | result | turns | reused | note |",
            "|---|---|---|---|---|",
        ]
        parts += [row(result) for result in own]
    return "\n".join(parts) + "\n"


PREFACE = """\
# Agent matrix

Results of `scripts/agents.py`: each agent ran one task against the real daemon and worker. The model is scripted. In
the format of one tool-call family it calls the agent's shell tool twice, and then it answers. `turns` is the number of
requests of the conversation, `reused` the smallest share of a later prompt that came from the prefix cache.

aider calls no tools: the model writes a file into its answer, and aider's test command asks for a second version.
Cline (`cline`) and Crush (`@charmland/crush`) are packages of npm and were not run. goose is no program of npm or PyPI.
[agents.md](agents.md) has the configurations."""


if __name__ == "__main__":
    sys.exit(main())
