# SPDX-License-Identifier: Apache-2.0
"""What configs/bids.yaml names: a BIDS dataset in, a BIDS derivatives dataset out."""

from scripts.bids.dataset import BidsDataset, BidsScan, write_description
from scripts.bids.page import DatasetPage
from scripts.bids.saving import save_scan
from scripts.bids.selection import BidsJob, Selection, select_scans, unfinished_scans

__all__ = [
    "BidsDataset",
    "BidsJob",
    "BidsScan",
    "DatasetPage",
    "Selection",
    "save_scan",
    "select_scans",
    "unfinished_scans",
    "write_description",
]
