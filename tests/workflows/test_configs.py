# SPDX-License-Identifier: Apache-2.0
"""The configs as MONAI's bundle tools, the Model Zoo and FLARE read them, and ablations without an edit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.bundle import run, verify_net_in_out
from monai.bundle.properties import InferProperties, TrainProperties

from tests.fixtures.bundle import KEEP, SMALL

ROOT = Path(__file__).parents[2]
METADATA, INFERENCE = str(ROOT / "configs" / "metadata.json"), str(ROOT / "configs" / "inference.json")


@pytest.mark.parametrize(
    ("configs", "workflow_type"),
    [
        (["train"], "train"),
        (["train", "evaluate"], "train"),
        (["inference"], "infer"),
    ],
    ids=["train", "evaluate", "inference"],
)
def test_no_property_is_missing_or_misnamed(
    bundle: Callable,
    unchanged_process: Callable,
    dataset: Path,
    fresh_weights: Path,
    tmp_path: Path,
    configs: list,
    workflow_type: str,
) -> None:
    given = {"dataset_dir": dataset, "output_dir": tmp_path} | (
        {"weights": fresh_weights} if "infer" in configs[0] else {}
    )
    workflow = bundle(*configs, workflow_type=workflow_type, **given)
    with unchanged_process():
        workflow.initialize()
        assert workflow.check_properties() == []


def property_cases() -> list:
    """Every property of MONAI's, except where there is nothing for it to name."""
    # Training has nothing to do with a field after the loss, and inference nothing to compare.
    none_there = {("train", "train_postprocessing"), ("inference", "key_metric")}
    cases = [("train", name, entry["id"]) for name, entry in TrainProperties.items()]
    cases += [("inference", name, entry["id"]) for name, entry in InferProperties.items()]
    return [case for case in cases if case[:2] not in none_there]


@pytest.mark.parametrize(("config", "name", "identifier"), property_cases())
def test_property_stands_at_its_id(bundle: Callable, config: str, name: str, identifier: str) -> None:
    workflow = bundle(config, workflow_type={"train": "train", "inference": "infer"}[config])
    assert name in workflow.properties
    assert identifier in workflow.parser


def test_properties_can_be_read_and_set_as_flare_does(
    bundle: Callable, unchanged_process: Callable, dataset: Path, tmp_path: Path
) -> None:
    workflow = bundle("train", dataset_dir=dataset, output_dir=tmp_path / "out", pairs_per_epoch=1, val_interval=2)
    workflow.max_epochs = 1
    with unchanged_process():
        workflow.initialize()
        assert workflow.trainer.state.max_epochs == 1
        assert workflow.evaluator is workflow.parser.get_parsed_content("validate#evaluator")
        assert workflow.network_def is workflow.trainer.network
        assert len(workflow.train_dataset) == 4 * 3
        assert len(workflow.val_dataset) == 2


def test_network_takes_and_gives_what_the_metadata_says() -> None:
    # The smallest size that the metadata allows, and another one: 16 n.
    for n in (1, 2):
        verify_net_in_out("network_def", meta_file=METADATA, config_file=INFERENCE, device="cpu", n=n)


def test_wrong_metadata_would_be_noticed() -> None:
    with pytest.raises(ValueError, match="output channel number"):
        verify_net_in_out(
            "network_def",
            meta_file=METADATA,
            config_file=INFERENCE,
            device="cpu",
            **{"_meta_#network_data_format#outputs#pred#num_channels": 2},
        )


@pytest.mark.parametrize("run_id", ["run", "inference"])
def test_inference_has_two_names(
    unchanged_process: Callable, small_dataset: Path, fresh_weights: Path, tmp_path: Path, run_id: str
) -> None:
    image = str(next((small_dataset / "imagesTr").iterdir()))
    with unchanged_process():
        run(
            run_id,
            config_file=INFERENCE,
            meta_file=METADATA,
            logging_file=False,
            fixed=image,
            moving=image,
            init="none",
            network_size=[1, 1, 1],
            output_dir=str(tmp_path / "out"),
            weights=str(fresh_weights),
            **SMALL,
        )
    assert (tmp_path / "out" / "moved.nii.gz").is_file()


@pytest.mark.parametrize(("config", "alias"), [("train", "training"), ("evaluate", "evaluating")])
def test_alias_stands_for_run(bundle: Callable, config: str, alias: str) -> None:
    workflow = bundle("train", config) if config != "train" else bundle("train")
    assert workflow.parser[alias] == "$@run"


@pytest.mark.parametrize(
    ("override", "absent"),
    [
        ({"network_def#attention": "global"}, ["local_attention"]),
        ({"network_def#attention": "local"}, ["global_attention"]),
        ({"network_def#fusion": "concat"}, ["global_attention", "local_attention"]),
        ({"network_def#auxiliary_decoder": False}, ["auxiliary_decoder"]),
    ],
    ids=lambda value: str(next(iter(value.items()))) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("config", ["train", "inference"])
def test_ablation_is_an_override(bundle: Callable, config: str, override: dict, absent: list[str]) -> None:
    complete = bundle(config).parser.get_parsed_content("network_def").state_dict()
    ablated = bundle(config, overrides=override).parser.get_parsed_content("network_def").state_dict()
    for part in absent:
        assert any(part in name for name in complete)
        assert not any(part in name for name in ablated)


def test_ablated_weights_fit_nothing_else(
    run_bundle: Callable, bundle: Callable, dataset: Path, tmp_path: Path
) -> None:
    sizes = {"max_epochs": 1, "pairs_per_epoch": 1, "val_interval": 1}
    ablation = {"network_def#fusion": "concat"}
    run_bundle("train", dataset_dir=dataset, output_dir=tmp_path / "out", **sizes, overrides=ablation)
    weights = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    ablated = bundle("inference", overrides=ablation).parser.get_parsed_content("network_def")
    assert weights.keys() == ablated.state_dict().keys()
    assert weights.keys() != bundle("inference").parser.get_parsed_content("network_def").state_dict().keys()


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "ablations").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("config", ["train", "inference"])
def test_ablation_overlay_makes_another_network(bundle: Callable, config: str, path: Path) -> None:
    keep = {"network_def#channels": KEEP}
    default, ablated = (
        bundle(config, *overlay, overrides=keep).parser.get_parsed_content("network_def")
        for overlay in ([], [f"ablations/{path.name}"])
    )
    same_weights = {k: v.shape for k, v in default.state_dict().items()} == {
        k: v.shape for k, v in ablated.state_dict().items()
    }
    ways = ("diffeomorphic", "symmetric", "iterations")
    assert not same_weights or any(getattr(default, way) != getattr(ablated, way) for way in ways)
    with torch.no_grad():
        assert ablated.eval()(torch.rand(1, 2, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_all_configs_describe_one_network(bundle: Callable) -> None:
    assert bundle("train").parser["network_def"] == bundle("inference").parser["network_def"]
