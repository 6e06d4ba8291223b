"""The bundle's configs."""

from monai.bundle import ConfigParser

from scripts.io.files import existing_file


def read_configs(config_file: str) -> ConfigParser:
    """The configs, written as the bundle runner wants them or with commas between.

    Raises:
        InputError: for a file that does not exist.
    """
    files = [str(existing_file(part.strip(" []'\""))) for part in config_file.split(",")]
    return ConfigParser(ConfigParser.load_config_files(files))
