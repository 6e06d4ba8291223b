# SPDX-License-Identifier: Apache-2.0
"""Deformable registration of brain MRI: the code behind the bundle's configs and command line."""

import logging

# Programs that use the bundle as a library decide themselves what they show of its warnings.
logging.getLogger(__name__).addHandler(logging.NullHandler())
