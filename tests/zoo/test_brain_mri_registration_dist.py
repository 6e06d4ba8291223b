# SPDX-License-Identifier: Apache-2.0
"""The bundle's configs for several GPUs, as the Model Zoo's CI runs them, from the root of the zoo."""

import os
import unittest

import torch
from test_brain_mri_registration import BUNDLE, TestBrainMRIRegistration, config
from utils import export_config_and_run_mgpu_cmd


class TestBrainMRIRegistrationMGPU(TestBrainMRIRegistration):
    test_infer = None

    def run_workflow(self, kind, config_file, **override):
        """Same as for one process, but by torchrun with a config of everything."""
        os.environ["PYTHONPATH"] = os.pathsep.join([BUNDLE, os.environ.get("PYTHONPATH", "")])
        known = {"bundle_root": BUNDLE, "dataset_dir": self.dataset_dir, "output_dir": self.output_dir}
        export_config_and_run_mgpu_cmd(
            config_file=[*config_file, *config(f"multi_gpu_{'train' if kind == 'train' else 'evaluate'}")],
            logging_file=os.path.join(BUNDLE, "configs", "logging.conf"),
            meta_file=os.path.join(BUNDLE, "configs", "metadata.json"),
            override_dict={**known, **override},
            output_path=os.path.join(self.dataset_dir, f"{kind}.json"),
            ngpu=max(torch.cuda.device_count(), 1),
        )


if __name__ == "__main__":
    unittest.main()
