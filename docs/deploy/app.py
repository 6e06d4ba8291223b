# SPDX-License-Identifier: Apache-2.0
"""MONAI Deploy: two scans on one grid into the bundle's network, out comes the moved scan.

python docs/deploy/app.py FIXED.nii.gz MOVING.nii.gz MOVED.nii.gz
"""

import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from holoscan.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Operator, OperatorSpec
from monai.deploy.core.domain import Image
from monai.deploy.core.io_type import IOType
from monai.deploy.operators.monai_bundle_inference_operator import (
    BundleConfigNames,
    IOMapping,
    MonaiBundleInferenceOperator,
)

BUNDLE = Path(__file__).parents[2]
sys.path.insert(0, str(BUNDLE))

from scripts.datasets import scale_intensity  # noqa: E402
from scripts.spatial import warp  # noqa: E402

FIXED, MOVING, MOVED = sys.argv[1:]


class Stacker(Operator):
    """Both scans as the network's one image `(2, X, Y, Z)`: the bundle operator's own reader takes one channel."""

    def setup(self, spec: OperatorSpec) -> None:
        spec.output("image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        scans = [scale_intensity(nib.load(path).get_fdata(dtype=np.float32)) for path in (FIXED, MOVING)]
        op_output.emit(torch.from_numpy(np.stack(scans)), "image")


class Registration(MonaiBundleInferenceOperator):
    """Hands on the moved scan: what the operator sends as an image has one channel and is uint8, so no field can be."""

    def post_process(self, data: torch.Tensor, **inputs: Any) -> torch.Tensor:
        image = inputs[self.kw_preprocessed_inputs]["image"].to(data.device)
        return 255 * warp(image[None, 1:], data[None])[0]


class Saver(Operator):
    def setup(self, spec: OperatorSpec) -> None:
        spec.input("pred")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        moved = op_input.receive("pred").asnumpy().swapaxes(0, 2)  # Deploy's images are (Z, Y, X)
        nib.save(nib.Nifti1Image(moved, nib.load(FIXED).affine), MOVED)


class App(Application):
    def compose(self) -> None:
        stacker = Stacker(self, CountCondition(self, 1), name="stacker")
        registration = Registration(
            self,
            # No such file. By default Deploy looks for models/ in the current folder, and would take ours for a bundle.
            app_context=AppContext({"model": "none"}),
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=BUNDLE,
            # The config's own pre- and postprocessing is for files of any grid; a name that is not there means none.
            bundle_config_names=BundleConfigNames(preproc_name="none", postproc_name="none"),
            name="registration",
        )
        self.add_flow(stacker, registration, {("image", "image")})
        self.add_flow(registration, Saver(self, name="saver"), {("pred", "pred")})


sys.argv = sys.argv[:1]  # Deploy would read its own options from it
App().run()
