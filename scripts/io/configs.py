# SPDX-License-Identifier: Apache-2.0
"""The bundle's configs."""

from monai.bundle import ConfigParser

from scripts.io.files import existing_file


def read_configs(config_file: str) -> ConfigParser:
    """Read and merge configs.

    Args:
        config_file: paths of the files, as a list in text as the bundle runner takes it, or with commas between.

    Raises:
        InputError: for a file that does not exist.
    """
    files = [str(existing_file(part.strip(" []'\""))) for part in config_file.split(",")]
    return ConfigParser(ConfigParser.load_config_files(files))
