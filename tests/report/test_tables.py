import re
from html import unescape

import pytest

from scripts.report.tables import inputs_table, key_metrics, metrics_table, number, timings_table, versions_table


def rows(table):
    """Cells of each row of a table, as a reader sees them."""
    found = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [
        [
            unescape(re.sub(r"<.*?>", "", re.sub(r"<span.*?</span>", "", cell))).strip()
            for cell in re.split(r"</t[hd]>", row)[:-1]
        ]
        for row in found
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("", "–"),
        ("LAS", "LAS"),
        (0.0, "0"),
        (0, "0"),
        (7, "7"),
        (True, "True"),
        (0.8297, "0.830"),
        (21.34, "21.3"),
        (99.96, "100"),
        (3104.4, "3104"),
        (0.00002, "< 0.0001"),
        (float("nan"), "not a number"),
        (float("inf"), "not a number"),
        ([1.0, 0.5], "1.00, 0.500"),
    ],
)
def test_numbers_as_people_read_them(value, text):
    assert number(value) == text


def test_metrics_stand_before_and_after(metrics):
    found = rows(metrics_table(metrics))
    assert ["LNCC", "0.286", "0.830"] in found
    assert ["Foreground Dice", "0.960", "0.994"] in found
    assert ["Folding in the foreground", "", "0 %"] in found
    assert ["Largest displacement", "", "21.30 mm"] in found
    assert ["Affine rotation", "", "7.30 degrees"] in found
    assert ["Affine scale", "", "1.02, 0.970, 1.05"] in found


def test_label_and_landmark_metrics_come_when_measured(metrics):
    for name in (">Dice<", ">HD95<", ">TRE<"):
        assert name not in metrics_table(metrics)
        assert name not in metrics_table(metrics | {"dice": None, "hd95": None, "tre": None})
    metrics |= {"dice_before": 0.4, "dice": 0.75, "hd95_before": 4.0, "hd95": 2.5, "tre_before": 6.0, "tre": 3.0}
    found = rows(metrics_table(metrics))
    assert ["Dice", "0.4000", "0.7500"] in found
    assert ["HD95", "4.00", "2.50 mm"] in found
    assert ["TRE", "6.00", "3.00 mm"] in found


def test_a_metric_without_a_start_leaves_its_cell_empty(metrics):
    assert ["TRE", "", "3.00 mm"] in rows(metrics_table(metrics | {"tre": 3.0}))


def test_refinement_is_one_row_where_there_was_one(metrics):
    assert "Refinement" not in metrics_table(metrics)
    metrics["refinement"] = {"steps": 50, "lncc_before": 0.8, "lncc_after": 0.8297, "gain": 0.0297}
    table = metrics_table(metrics)
    assert rows(table).count(["Refinement", "0.800", "0.830"]) == 1
    assert "LNCC gained 0.0297 in 50 steps" in table


def test_key_metrics_are_the_few_that_matter(metrics):
    names = re.findall(
        r'<li><span class="faint">(.*?)</span>', key_metrics(metrics | {"dice": 0.7, "dice_before": 0.4})
    )
    assert names == ["LNCC", "Dice", "Foreground Dice", "Folding in the foreground", "Largest displacement"]
    assert "0.286 →" in key_metrics(metrics)


def test_headers_stand_side_by_side(metrics):
    metrics["moving"]["orientation"] = "RAS"
    found = rows(inputs_table(metrics))
    assert found[0] == ["", "Fixed", "Moving"]
    assert ["File", "/data/sub-01/T1.nii.gz", "/data/sub-02/T1.nii.gz"] in found
    assert ["Size, voxels", "24 × 32 × 20", "24 × 32 × 20"] in found
    assert ["Voxel, mm", "1.00 × 0.938 × 1.50", "1.00 × 0.938 × 1.50"] in found
    assert ["Orientation", "LAS", "RAS"] in found


def test_warnings_are_listed_with_their_scan(metrics):
    assert "warnings" not in inputs_table(metrics)
    metrics["moving"]["warnings"] = ["sform and qform differ"]
    assert '<ul class="warnings"><li>Moving: sform and qform differ</li></ul>' in inputs_table(metrics)


def test_timings_add_up(metrics):
    found = rows(timings_table(metrics))
    assert ["network", "12.2", "3104"] in found
    assert found[-1] == ["total", "12.8", ""]


def test_versions_settings_and_checksums_are_all_there(metrics):
    found = rows(versions_table(metrics))
    assert ["settings: init", "affine"] in found
    assert ["settings: weights: sha256", "ab" * 32] in found
    assert ["versions: torch", "2.13.0"] in found
    assert ["SHA-256: fixed", "0f" * 32] in found


@pytest.mark.parametrize("table", [metrics_table, inputs_table, key_metrics, timings_table, versions_table])
def test_what_is_missing_is_left_out(table):
    table({"fixed": {}, "moving": {}})


def test_text_from_outside_is_escaped(metrics):
    evil = '<img src=x onerror="alert(1)">&'
    metrics["fixed"] |= {"path": evil, "space": evil, "warnings": [evil], "sha256": evil}
    metrics |= {"settings": {evil: evil}, "versions": {evil: evil}, "timings": {evil: {"seconds": 1.0}}}
    for table in (metrics_table, inputs_table, key_metrics, timings_table, versions_table):
        assert "<img" not in table(metrics)
    assert unescape(inputs_table(metrics)).count(evil) == 3
