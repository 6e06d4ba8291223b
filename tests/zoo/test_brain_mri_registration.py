# SPDX-License-Identifier: Apache-2.0
"""The bundle's configs, as the Model Zoo's CI runs them, from the root of the zoo."""

import json
import os
import sys
import tempfile
import unittest

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow

BUNDLE = os.path.join("models", "brain_mri_registration")
SIZE = (32, 32, 32)


def config(*names):
    return [os.path.join(BUNDLE, "configs", f"{name}.json") for name in names]


class TestBrainMRIRegistration(unittest.TestCase):
    def setUp(self):
        sys.path.insert(0, BUNDLE)
        self.folder = tempfile.TemporaryDirectory()
        self.dataset_dir, self.output_dir = self.folder.name, os.path.join(self.folder.name, "output")
        scans = [self.write_scan(number) for number in range(4)]
        content = {
            "training": [{"image": scan} for scan in scans],
            "registration_val": [{"fixed": scans[2], "moving": scans[3]}],
        }
        with open(os.path.join(self.dataset_dir, "dataset.json"), "w") as file:
            json.dump(content, file)

    def write_scan(self, number):
        generator = np.random.default_rng(number)
        ball = sum((axis - 15.5) ** 2 for axis in np.ogrid[:32, :32, :32]) < 12**2
        for folder, array in (
            ("imagesTr", generator.integers(1, 256, SIZE)),
            ("labelsTr", generator.integers(0, 3, SIZE)),
        ):
            os.makedirs(os.path.join(self.dataset_dir, folder), exist_ok=True)
            path = os.path.join(self.dataset_dir, folder, f"{number}.nii.gz")
            nib.save(nib.Nifti1Image((array * ball).astype(np.uint8), np.eye(4)), path)
        return f"imagesTr/{number}.nii.gz"

    def tearDown(self):
        self.folder.cleanup()
        sys.path.remove(BUNDLE)

    def run_workflow(self, kind, config_file, **override):
        workflow = ConfigWorkflow(
            workflow_type=kind,
            config_file=config_file,
            logging_file=os.path.join(BUNDLE, "configs", "logging.conf"),
            meta_file=os.path.join(BUNDLE, "configs", "metadata.json"),
            bundle_root=BUNDLE,
            dataset_dir=self.dataset_dir,
            output_dir=self.output_dir,
            **override,
        )
        workflow.initialize()
        if kind != "eval":  # evaluate.json only adds to train.json
            assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()

    def test_train_and_evaluate(self):
        self.run_workflow("train", config("train"), max_epochs=1, pairs_per_epoch=2, val_interval=1)
        assert os.path.isfile(os.path.join(self.output_dir, "model.pt"))
        self.run_workflow("eval", config("train", "evaluate"))
        assert os.path.isfile(os.path.join(self.output_dir, "metrics.csv"))

    def test_infer(self):
        # Noise on noise has a poor verdict: what would end with an error is left out.
        run = ["$io.load_weights(@network_def, @weights)", "$@evaluator.run()", "$@outcomes.raise_errors()"]
        self.run_workflow("infer", config("inference"), init="none", network_size=list(SIZE), run=run)
        found = [name for _, _, names in os.walk(self.output_dir) for name in names]
        assert "warp.nii.gz" in found


if __name__ == "__main__":
    unittest.main()
