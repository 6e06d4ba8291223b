"""Deformable registration of brain MRI: the code behind the bundle's configs and command line."""
