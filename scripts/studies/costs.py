# SPDX-License-Identifier: Apache-2.0
"""What a network costs on one pair of full size: parameters, operations, CPU time and memory.

Run as a module, it measures one network and prints the measurements as a line of JSON.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch.utils.flop_counter import FlopCounterMode

from scripts.evaluation.benchmark_worker import random_pair
from scripts.io import read_configs, read_json, write_json
from scripts.networks import PaddedInferer
from scripts.registration import json_sha256
from scripts.runtime import InputError, bundle_version, start, supports_bf16, timed
from scripts.studies.runs import run_module

SIZE = (160, 224, 192)
ROUNDS = 3

Measured = dict[str, float]


class Costs:
    """The costs of a network, measured in turn with those of another one, so that other load affects both alike.

    Args:
        configs: paths of the configs that define the network.
        reference: paths of the configs of the network that it is compared with.
        path: JSON file that keeps the measurements, round by round.

    Raises:
        InputError: if the file holds measurements of other networks.
    """

    def __init__(self, configs: Sequence[str], reference: Sequence[str], path: Path) -> None:
        self.configs = {"network": ",".join(configs), "reference": ",".join(reference)}
        self.path = path
        definitions = {name: read_configs(files)["network_def"] for name, files in self.configs.items()}
        self.fingerprint = json_sha256([definitions, list(SIZE)])
        if path.exists() and read_json(path)["fingerprint"] != self.fingerprint:
            raise InputError(f"{path}: costs of other networks; move it away or choose another --output_dir")

    def rounds(self) -> list[dict[str, Measured]]:
        """The measurements of each round, of `network` and of `reference`."""
        return list(read_json(self.path)["rounds"]) if self.path.exists() else []

    def measure(self, stop: Event) -> None:
        """Measure the rounds that are missing, each network in a process of its own, which the event ends."""
        while len(rounds := self.rounds()) < ROUNDS:
            by_files = {files: self._measure(files, stop) for files in dict.fromkeys(self.configs.values())}
            measured = {name: by_files[files] for name, files in self.configs.items()}
            known = {"fingerprint": self.fingerprint, "version": bundle_version()}
            write_json(self.path, {**known, "rounds": [*rounds, measured]})

    def summary(self) -> dict[str, Any]:
        """Medians over the rounds, and the ratios of CPU time and memory to those of the reference, round by round.

        Returns:
            `parameters`, `macs`, `cpu_seconds`, `peak_memory_mb`, `cpu_ratio`, `memory_ratio`, and `costs_version`, the
            version of the bundle that measured last; empty before the first round.
        """
        rounds = self.rounds()
        if not rounds:
            return {}
        ratios = {"cpu_ratio": "cpu_seconds", "memory_ratio": "peak_memory_mb"}
        return {
            "costs_version": read_json(self.path)["version"],
            **{name: median(pair["network"][name] for pair in rounds) for name in rounds[0]["network"]},
            **{
                ratio: median(pair["network"][name] / pair["reference"][name] for pair in rounds)
                for ratio, name in ratios.items()
            },
        }

    def _measure(self, files: str, stop: Event) -> Measured:
        printed = run_module(__name__, [files, *map(str, SIZE)], self.path.with_suffix(".log"), stop)
        return json.loads(printed.splitlines()[-1])


def measure(config: ConfigParser, size: list[int]) -> Measured:
    """Measure the network of a config on one random pair, untrained, on the CPU.

    Args:
        config: the config, with `network_def`.
        size: size of the images along each axis, voxels.

    Returns:
        `parameters`; `macs`, multiplications with additions of its convolutions and matrix products; `cpu_seconds` of
        all threads for one pair, after one that does not count; `peak_memory_mb` of the process, 2^20 bytes.
    """
    network = config.get_parsed_content("network_def").eval()
    infer, image = PaddedInferer(supports_bf16("cpu")), random_pair(size)
    timings: dict[str, Any] = {}
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            infer(image, network)
        with timed(timings, "pair"):
            began = time.process_time()
            infer(image, network)
            cpu_seconds = time.process_time() - began
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": counter.get_total_flops() / 2,
        "cpu_seconds": cpu_seconds,
        "peak_memory_mb": timings["pair"]["peak_memory_mb"],
    }


if __name__ == "__main__":
    start(seed=0)
    print(json.dumps(measure(read_configs(sys.argv[1]), [int(word) for word in sys.argv[2:]])))
