# SPDX-License-Identifier: Apache-2.0
"""What there is to register: which files, into which folder, and what is finished already."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.registration.jobs import registration_jobs
from scripts.registration.pair import ImageSources, Job

NO_FILES = {"fixed": None, "moving": None, "fixed_mask": None, "moving_landmarks": None}


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., list[Job]]:
    """`listed("fixed,moving\\na.nii,b.nii")`: the jobs of a CSV list, or of a JSON one where it is no text."""

    def jobs(content: object, settings: Mapping[str, Any] | None = None, suffix: str = "") -> list[Job]:
        is_text = isinstance(content, str)
        file = tmp_path / "lists" / f"pairs{suffix or ('.csv' if is_text else '.json')}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if is_text else json.dumps(content))
        return registration_jobs(tmp_path / "out", NO_FILES, pairs=str(file), settings=settings)

    return jobs


def test_one_pair_of_files_goes_into_the_folder_itself() -> None:
    files = NO_FILES | {"fixed": "x/a.nii.gz", "moving": "b.mgz", "fixed_mask": "m.nii"}
    (job,) = registration_jobs("out", files)
    assert job.folder == "out"
    assert job.name == "a_b"
    assert job.fixed == ImageSources(image="x/a.nii.gz", mask="m.nii")
    assert job.moving == ImageSources(image="b.mgz")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"files": {"fixed": "a.nii"}},
        {"files": {"fixed_mask": "a.nii"}},
        {"files": {"fixed": "a.nii", "moving": "b.nii"}, "dataset_dir": "data"},
        {"pairs": "pairs.csv", "dataset_dir": "data"},
    ],
)
def test_anything_but_one_kind_of_input_is_refused(refused: Callable, given: dict[str, Any]) -> None:
    with refused("--fixed and --moving", "--pairs", "--dataset_dir"):
        registration_jobs("out", **{"files": {}, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [  # what `python -m monai.bundle run` makes of 20240131 and a,b
        ({"files": {"fixed": 20240131, "moving": "b.nii"}}, ["--fixed 20240131", "int", "./"]),
        ({"pairs": 1.5}, ["--pairs 1.5", "float", "./"]),
        ({"dataset_dir": ("a", "b")}, ["--dataset_dir", "tuple", "./"]),
    ],
)
def test_paths_that_are_no_text_are_refused(refused: Callable, given: dict[str, Any], words: list[str]) -> None:
    with refused(*words):
        registration_jobs("out", **{"files": {}, **given})


@pytest.mark.parametrize(
    "content",
    [
        "fixed,moving,name,moving_label\na.nii,sub/b.nii.gz,first,l.nii\nc.nii,a.nii,,\n\n",
        [
            {"fixed": "a.nii", "moving": "sub/b.nii.gz", "name": "first", "moving_label": "l.nii"},
            {"fixed": "c.nii", "moving": "a.nii"},
        ],
    ],
    ids=["csv", "json"],
)
def test_paths_of_a_list_are_relative_to_it(listed: Callable, tmp_path: Path, content: object) -> None:
    first, second = listed(content)
    here = tmp_path / "lists"
    assert first.fixed == ImageSources(image=str(here / "a.nii"))
    assert first.moving == ImageSources(image=str(here / "sub" / "b.nii.gz"), label=str(here / "l.nii"))
    assert (first.name, second.name) == ("first", "c_a")
    assert second.folder == str(tmp_path / "out" / "c_a")
    assert second.moving.label is None


def test_a_table_of_excel_is_read(listed: Callable, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    file = tmp_path / "lists" / "excel.csv"
    file.write_bytes("\ufefffixed,moving\r\na.nii,b.nii\r\n".encode())
    (job,) = registration_jobs("out", NO_FILES, pairs=str(file))
    assert job.name == "a_b"


@pytest.mark.parametrize(
    "text",
    [
        "fixed;moving;name;moving_label\na b.nii;c,d.nii;p1;\n",  # Excel, in many countries
        "fixed\tmoving\tname\na b.nii\tc,d.nii\tp1\n",
        'fixed, moving, name\na b.nii, "c,d.nii", p1\n',
        '"fixed","moving","name"\r\n"a b.nii","c,d.nii","p1"\r\n',
        "sep=;\nfixed;moving;name;\na b.nii;c,d.nii;p1;;\n;;;\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.txt"])
def test_a_table_of_any_program_and_country_is_read(tmp_path: Path, text: str, encoding: str, name: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    (job,) = registration_jobs(tmp_path / "out", NO_FILES, pairs=str(tmp_path / name))
    assert job.name == "p1"
    assert job.fixed == ImageSources(image=str(tmp_path / "a b.nii"))
    assert job.moving == ImageSources(image=str(tmp_path / "c,d.nii"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fixed,moving\n1/T1.nii,2/T1.nii\n3/T1.nii,4/T1.nii\n", ["2 pairs", "T1_T1", "column 'name'"]),
        ("fixed,moved\na.nii,b.nii\n", ["unknown column 'moved'", "moving"]),
        ("fixed,moving\na.nii,\n", ["pair 1", "no 'moving'"]),
        ("fixed,moving\na.nii,b.nii\na.nii,b.nii,c.nii\n", ["line 3 has 3 cells, want 2: fixed, moving"]),
        ("fixed;moving\na, left.nii;b.nii;c.nii\n", ["line 2 has 3 cells, want 2: fixed, moving"]),
        ("fixed,moving,fixed\na.nii,b.nii,c.nii\n", ["two columns have the same name"]),
        ('fixed,moving\n"a.nii,b.nii\n', ["not a CSV file"]),
        ("\0\0", ["not a text file"]),
        ("PK\x03\x04", ["an Excel workbook", "save the table as CSV"]),
        ("fixed,moving\n", ["no pairs"]),
        ("fixed,moving,name\na.nii,b.nii,../up\n", ["'../up'", "name"]),
        ({"training": []}, ["want a list", "--dataset_dir"]),
        ([["a.nii", "b.nii"]], ["want a list"]),
    ],
)
def test_bad_lists_are_refused(listed: Callable, refused: Callable, content: object, words: list[str]) -> None:
    with refused(*words):
        listed(content)


def test_missing_and_damaged_lists_are_refused(listed: Callable, refused: Callable) -> None:
    with refused("pairs.json", "not a JSON file"):
        listed("{", suffix=".json")
    with refused("nowhere.csv", "no such file"):
        registration_jobs("out", NO_FILES, pairs="nowhere.csv")


def test_dataset_gives_a_job_for_each_pair(odd_dataset: Path) -> None:
    jobs = registration_jobs("out", NO_FILES, dataset_dir=str(odd_dataset))
    assert [job.name for job in jobs] == [
        "VIRTUAL_0003_0000_VIRTUAL_0004_0000",
        "VIRTUAL_0004_0000_VIRTUAL_0003_0000",
    ]
    assert all(files.label and files.keypoints for job in jobs for files in (job.fixed, job.moving))
