# SPDX-License-Identifier: Apache-2.0
"""The dataset that is read, through ancpbids, and what describes the one that is written."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.io import FilePath, read_json, write_complete, write_json
from scripts.runtime import InputError, bundle_version

DESCRIPTION = "dataset_description.json"
PREPROC = "preproc"  # the entity `desc` of moved scans
_NAME = "MSFBNet"  # by which this bundle's datasets are known
_BIDS_VERSION = "1.10.0"
_ENDINGS = (".nii.gz", ".nii")
# Not part of the raw data. Hidden folders are those of git, DataLad and others.
_IGNORED = ["code", "derivatives", "sourcedata", "stimuli", ".*"]
# What BIDS has no rule for yet; transforms are a proposal (BEP 014).
_BIDSIGNORE = "index.html\nsub-*/figures\n*_xfm.nii.gz\n*_copy.nii.gz\n"
_README = f"""# Scans registered by {_NAME}

`index.html` lists all scans, the poorest first, with links to their reports. Of each scan there are, for a space `S`
(`T1w` stands for its suffix):

- `*_space-S_desc-{PREPROC}_T1w.nii.gz`: the scan on the grid of `S`; its sidecar has the figures and the verdict.
- `*_from-T1w_to-S_mode-image_xfm.nii.gz`: the transform that brings images of the scan into `S`, an ITK field (ANTs, 3D
  Slicer), the affine in it. It maps points of `S` to points of the scan.
- `*_from-S_to-T1w_mode-image_xfm.nii.gz`: its inverse, which brings images of `S`, such as an atlas, onto the scan.
"""


@dataclass(frozen=True)
class BidsScan:
    """An image of the dataset.

    Attributes:
        path: its path in the dataset, absolute; links are not followed.
        folder: folder of its kind below the dataset's root, such as `sub-01/ses-1/anat`.
        entities: such as `{"sub": "01", "run": "02"}`, in the order of the name, as they are written there.
        suffix: such as `T1w`.
    """

    path: Path
    folder: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return bids_name(self.entities, self.suffix)


class BidsDataset:
    """A BIDS dataset, raw or derivative, as ancpbids reads it; derivatives inside it are left out.

    Args:
        root: its folder.

    Raises:
        InputError: if ancpbids is not installed, or there is no such folder, dataset_description.json or subject in it.
    """

    def __init__(self, root: FilePath) -> None:
        try:
            from ancpbids import BIDSLayout, DatasetOptions
        except ImportError as error:
            raise InputError("bids: ancpbids is not installed; python -m pip install '.[bids]'") from error
        self.root = Path(os.path.abspath(root))
        if not self.root.is_dir():
            raise InputError(f"{root}: no such folder; give the root of a BIDS dataset")
        if not (self.root / DESCRIPTION).is_file():
            raise InputError(f"{root}: no {DESCRIPTION} in it, which BIDS wants; give the root of a BIDS dataset")
        read_json(self.root / DESCRIPTION)
        # Not what ancpbids has pickled there: unpickling can run code.
        self._layout = BIDSLayout(str(self.root), DatasetOptions(ignore=_IGNORED, ignore_pickle_file=True))
        folders = (folder.name for folder in self._layout.dataset.subjects)
        self.subjects = sorted(name.removeprefix("sub-") for name in folders)
        if not self.subjects:
            raise InputError(f"{root}: no folder of a subject, sub-LABEL, in it; give the root of a BIDS dataset")

    def scans(self, suffix: str) -> list[BidsScan]:
        """The images with a suffix, by name, those that are resampled to another space left out.

        Of two that differ in their ending, `.nii.gz` comes first.
        """
        from ancpbids.utils import parse_bids_name  # the layout's own entities lose the zeros of `run-01`

        found = []
        files: list[Any] = self._layout.get(scope="raw", suffix=suffix, extension=list(_ENDINGS))
        for file in files:
            path = Path(file.get_relative_path())
            entities = parse_bids_name(path.name)["entities"]
            if path.parts[0].removeprefix("sub-") in self.subjects and "sub" in entities and "space" not in entities:
                found.append(BidsScan(self.root / path, path.parent, entities, suffix))
        return sorted(found, key=lambda scan: (scan.name, _ENDINGS.index("".join(scan.path.suffixes))))

    def uri(self, path: FilePath) -> str:
        """The BIDS URI of a file of this dataset, for the sidecars of derivatives; else its `file:` URI."""
        file = Path(os.path.abspath(path))
        inside = file.is_relative_to(self.root)
        return f"bids:raw:{file.relative_to(self.root).as_posix()}" if inside else file.as_uri()


def bids_name(entities: Mapping[str, str], suffix: str) -> str:
    """A name such as `sub-01_space-X_T1w`, with the entities in the order that BIDS wants."""
    from ancpbids import model_latest

    order = [entity.value["name"] for entity in model_latest.EntityEnum]
    known = sorted(entities, key=lambda key: order.index(key) if key in order else len(order))
    return "_".join([*(f"{key}-{entities[key]}" for key in known), suffix])


def check_derivatives(output_dir: Path, root: Path) -> None:
    """Refuse a folder that must not get a derivatives dataset.

    Raises:
        InputError: for a raw dataset, a folder in one except in its `derivatives`, or what another tool has written.
    """
    out, source = output_dir.resolve(), root.resolve()
    if out == source or (source in out.parents and out.relative_to(source).parts[0] != "derivatives"):
        raise InputError(
            f"{output_dir}: part of the input dataset; choose a folder in {root / 'derivatives'}, or another"
        )
    if (output_dir / DESCRIPTION).exists():
        described = read_json(output_dir / DESCRIPTION)
        makers = described.get("GeneratedBy") if isinstance(described, dict) else None
        if not isinstance(makers, list) or not any(isinstance(m, dict) and m.get("Name") == _NAME for m in makers):
            raise InputError(f"{output_dir}: a dataset that {_NAME} has not written; choose another output folder")


def write_description(output_dir: FilePath, bids_dir: FilePath) -> None:
    """Write what describes the derivatives: dataset_description.json, README.md, .bidsignore.

    What the user has added to an earlier one, such as authors, is kept.

    Args:
        output_dir: root of the derivatives.
        bids_dir: root of the dataset that they come from.
    """
    out, source = Path(output_dir).resolve(), Path(bids_dir).resolve()
    # A relative address where both move together.
    address = os.path.relpath(source, out) if source in out.parents else source.as_uri()
    earlier = read_json(out / DESCRIPTION) if (out / DESCRIPTION).exists() else {}
    description = {
        "Name": f"Scans registered by {_NAME}",
        "BIDSVersion": _BIDS_VERSION,
        **earlier,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": _NAME, "Version": bundle_version()}],
        "SourceDatasets": [{"URL": address}],
        "DatasetLinks": {"raw": address},
    }
    write_json(out / DESCRIPTION, description)
    _write_missing(out / ".bidsignore", _BIDSIGNORE)
    _write_missing(out / "README.md", _README)


def _write_missing(path: Path, text: str) -> None:
    if not path.exists():
        write_complete(path, lambda file: print(text, end="", file=file))
