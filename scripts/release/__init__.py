# SPDX-License-Identifier: Apache-2.0
"""Releases: the network in other formats, and the bundle as a submission to the Model Zoo."""
