"""Deformable registration of brain MRI: the code behind the bundle's configs and command line."""

import os

# Pages of 2 MB where Linux gives them on request: torch maps large arrays anew all the time, and pays for each page.
# torch reads this when it first allocates, which importing it does not do yet.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
