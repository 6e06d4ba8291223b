# SPDX-License-Identifier: Apache-2.0
"""The documents of the project against what is there: rooms, paths, links, versions, commands."""

import importlib
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.test_house import FLOORS, SCRIPTS, room_of

ROOT = Path(__file__).parents[1]
LISTED = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout
DOCUMENTS = sorted(name for name in LISTED.split("\0") if name and (ROOT / name).is_file())


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


# --- docs/architecture.md ---------------------------------------------------------------------------------------------

ARCHITECTURE = text_of("docs/architecture.md")
ROOMS = dict(re.findall(r"^\*\*`(\w+)`\*\*: (.*?)\n\n", ARCHITECTURE, re.MULTILINE | re.DOTALL))


def test_the_picture_has_the_floors_that_imports_are_held_to() -> None:
    (picture,) = re.findall(r"## Rooms.*?```\n(.*?)```", ARCHITECTURE, re.DOTALL)
    floors = [set(re.split("  +", line)[0].split(", ")) for line in picture.splitlines()]
    assert floors == [*reversed(FLOORS)]


def test_every_room_has_a_paragraph_and_every_paragraph_a_room() -> None:
    assert ROOMS.keys() == set().union(*FLOORS)
    there = {room_of(path) for path in SCRIPTS} - {"__init__"}
    assert ROOMS.keys() == there


@pytest.mark.parametrize("room", [room for room in ROOMS if (ROOT / "scripts" / room).is_dir()])
def test_what_is_said_of_a_room_is_what_it_hands_on(room: str) -> None:
    module = importlib.import_module(f"scripts.{room}")
    named = set(re.findall(r"`([A-Za-z]\w+)`", ROOMS[room])) - ROOMS.keys()
    assert {name for name in named if not hasattr(module, name)} == set()


# --- paths and links --------------------------------------------------------------------------------------------------


def paths_named(text: str) -> Iterator[str]:
    """Paths from the root, in prose, commands and links; those of other roots and sites are left out."""
    for path in re.findall(r"(?<![\w/.-])(?:scripts|configs|tests|docs|models)/[\w./-]*", text):
        yield path.rstrip(".")


def links(text: str) -> Iterator[str]:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    yield from (link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"\w+:", link))


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_paths_links_and_anchors_are_seen() -> None:
    text = (
        "See `configs/train.json`, [a](docs/x.md#a-b).\n    run --config_file \"['configs/a.yaml']\" $ROOT/scripts/no"
    )
    assert list(paths_named(text)) == ["configs/train.json", "docs/x.md", "configs/a.yaml"]
    assert list(links(text + "[b](https://c.d/docs/e.md) `[f](g)`")) == ["docs/x.md#a-b"]
    assert anchors("# A `b`, c!\n```\n# no\n```\n## D-e") == {"a-b-c", "d-e"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_that_a_document_names_exist(document: str) -> None:
    assert [path for path in paths_named(text_of(document)) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_a_document_lead_somewhere(document: str) -> None:
    for link in links(text_of(document)):
        file, _, anchor = link.partition("#")
        target = (ROOT / document).parent / file if file else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


# --- versions and commands --------------------------------------------------------------------------------------------

METADATA = json.loads(text_of("configs/metadata.json"))
CITATION = yaml.safe_load(text_of("CITATION.cff"))
RELEASES = re.findall(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", text_of("CHANGELOG.md"), re.MULTILINE)


def test_the_changelog_has_every_version_newest_first() -> None:
    headings = re.findall(r"^## (.*)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings == ["[Unreleased]", *(f"[{version}] - {day}" for version, day in RELEASES)]
    assert [version for version, _ in RELEASES] == list(METADATA["changelog"])
    days = [date.fromisoformat(day) for _, day in RELEASES]
    assert days == sorted(days, reverse=True)


def test_the_changes_are_of_the_kinds_of_keep_a_changelog() -> None:
    kinds = re.findall(r"^### (.*)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_is_of_this_version() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', text_of("pyproject.toml"), re.MULTILINE)
    assert CITATION["version"] == version
    assert CITATION["date-released"].isoformat() == dict(RELEASES)[version]
    (license_,) = re.findall(r'^license = "(.+)"$', text_of("pyproject.toml"), re.MULTILINE)
    assert CITATION["license"] == license_


def test_the_citation_has_what_cff_wants_and_the_paper() -> None:
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    (paper,) = CITATION["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    (listed,) = (reference for reference in METADATA["references"] if paper["url"] in reference)
    assert paper["title"] in listed


def test_the_hooks_run_what_lint_runs() -> None:
    recipe = re.findall(r"^lint:.*\n((?:\t.*\n)+)", text_of("Makefile"), re.MULTILINE)[0].splitlines()
    (run,) = re.findall(r"^RUN := (.*)$", text_of("Makefile"), re.MULTILINE)
    (repository,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == [line.strip().replace("$(RUN)", run) for line in recipe]
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in repository["hooks"])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_has_the_targets_that_a_document_names(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z]+)", text_of(document), re.MULTILINE)) <= targets
