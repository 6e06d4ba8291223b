"""Reading of a user's files, with one clear line for whatever is wrong with them."""

import gzip
import zlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, NibabelReader
from monai.transforms import LoadImage, MapTransform
from monai.utils import ensure_tuple
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from nibabel.wrapstruct import WrapStructError
from torch import Tensor

from scripts.world import InputError

GRID_TOLERANCE = 1e-3
MIN_SIZE = 5  # what the derivatives of a field need, see scripts.metrics.sdlogj
_LARGEST_LABEL = 2**24  # float32 and scripts.spatial.warp are exact below

_UNREADABLE = (EOFError, OSError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)

_KEPT_META = ("affine", "original_affine", "spatial_shape", "space", "original_channel_dim", "filename_or_obj")


def load_scan(path: str | Path) -> MetaTensor:
    """Read a 3-D image: NIfTI, .mgz, or whatever else nibabel reads; scl_slope and scl_inter are applied.

    Args:
        path: the file; one volume with trailing axes of length 1 counts as 3-D.

    Returns:
        `(1, X, Y, Z)` float32 in the file's own axis order; `affine` (RAS mm) and `filename_or_obj` in `meta`.

    Raises:
        InputError: if the file is missing, unreadable or cut short, is not one 3-D volume of numbers, or is
            empty, constant, NaN or infinite somewhere.
    """
    image = _read(path)
    if float(image.min()) == float(image.max()):
        raise InputError(f"{path}: the image is empty: every voxel is {float(image.min()):g}; give another image")
    return image


def load_label(path: str | Path) -> MetaTensor:
    """Read a label map; whole numbers stored as floats are fine.

    Args:
        path: the file, as in `load_scan`.

    Returns:
        `(1, X, Y, Z)` int32, with the same metadata as `load_scan`.

    Raises:
        InputError: as in `load_scan`, or if a value is not whole; a constant map is refused only if it is all 0.
    """
    label = _read(path)
    values = label.as_tensor()
    if not bool(values.any()):
        raise InputError(f"{path}: the label map is empty: every voxel is 0; give another one or leave it out")
    rounded = values.round()
    if float((values - rounded).abs().max()) > GRID_TOLERANCE or float(values.abs().max()) >= _LARGEST_LABEL:
        raise InputError(f"{path}: a label map holds whole numbers below 2^24, this one does not; is it an image?")
    return MetaTensor(rounded.to(torch.int32), meta=label.meta)


def load_keypoints(path: str | Path) -> Tensor:
    """Read points in Learn2Reg's layout: one row `x,y,z` per point, in voxels of the image's array, no header.

    Args:
        path: the CSV file.

    Returns:
        `(N, 3)` float64.

    Raises:
        InputError: if the file is missing or is not such a table of finite numbers.
    """
    file = _existing(path)
    try:
        points = np.loadtxt(file, delimiter=",", ndmin=2)
    except ValueError as error:
        raise InputError(f"{path}: not a CSV file of rows x,y,z without header ({_first_line(error)})") from error
    if points.shape[0] == 0 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(f"{path}: want rows of 3 finite numbers x,y,z, found {points.shape[0]}x{points.shape[1]}")
    return torch.from_numpy(points)


def transform_points(points: Tensor, affine: Tensor | np.ndarray) -> Tensor:
    """Map points by a 4x4 matrix.

    Args:
        points: `(N, 3)`.
        affine: `(4, 4)`.

    Returns:
        `(N, 3)` float64.
    """
    matrix = torch.as_tensor(affine, dtype=torch.float64)
    return points.to(torch.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def same_grid(first: MetaTensor, second: MetaTensor) -> bool:
    """Whether two channel-first images have the same size and the same affine (to 1e-3)."""
    return first.shape[1:] == second.shape[1:] and torch.allclose(
        first.affine.double().cpu(), second.affine.double().cpu(), rtol=0, atol=GRID_TOLERANCE
    )


def describe_grid(image: MetaTensor) -> str:
    """Size, voxel size, orientation and origin of a channel-first image's grid, for a message."""
    affine = image.affine.cpu().numpy()
    size = "x".join(str(n) for n in image.shape[1:])
    spacing = "x".join(f"{s:.4g}" for s in nib.affines.voxel_sizes(affine))
    axes = "".join(code or "?" for code in nib.orientations.aff2axcodes(affine))
    origin = ", ".join(f"{t:.4g}" for t in affine[:3, 3])
    return f"{size} voxels of {spacing} mm, {axes}, origin ({origin})"


class LoadScand(MapTransform):
    """Load the files of one or several scans with the checks of this module.

    Images become `(1, X, Y, Z)` float32, label maps int32, keypoints `(N, 3)` float64 in RAS mm: in world
    coordinates they stay true when later transforms reorient, pad or resample the image.

    Args:
        keys: keys of the images' paths.
        label_keys: keys of the label maps, one for each image key in the same order, or none; a label that the
            data does not hold is passed over, as labels are optional everywhere.
        keypoint_keys: keys of the keypoint files, likewise.
        allow_missing_keys: pass over an image key that the data does not hold, with its label and keypoints.

    Raises:
        InputError: for bad files (see `load_scan`, `load_label`, `load_keypoints`), and for a label map on
            another grid than its image. `Compose` wraps it: see `find_input_error`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_keys: KeysCollection = (),
        keypoint_keys: KeysCollection = (),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = _one_each(label_keys, self.keys, "label_keys")
        self.keypoint_keys = _one_each(keypoint_keys, self.keys, "keypoint_keys")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        loaded = dict(data)
        for key, label_key, keypoint_key in self.key_iterator(loaded, self.label_keys, self.keypoint_keys):
            image = loaded[key] = load_scan(data[key])
            if label_key in data:
                label = loaded[label_key] = load_label(data[label_key])
                if not same_grid(image, label):
                    raise InputError(
                        f"{data[label_key]}: the label map ({describe_grid(label)}) is not on the grid of its image "
                        f"{data[key]} ({describe_grid(image)}); resample it to the image"
                    )
            if keypoint_key in data:
                loaded[keypoint_key] = transform_points(load_keypoints(data[keypoint_key]), image.affine)
        return loaded


def _one_each(keys: KeysCollection, image_keys: tuple[Hashable, ...], name: str) -> tuple[Hashable, ...]:
    found: tuple[Hashable, ...] = ensure_tuple(keys)
    if not found:
        return (None,) * len(image_keys)
    if len(found) != len(image_keys):
        raise ValueError(f"{name} wants one key for each of {image_keys}, got {found}")
    return found


def _read(path: str | Path) -> MetaTensor:
    file = _existing(path)
    try:
        header = nib.load(file)
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: cannot be read as an image ({_first_line(error)}); give NIfTI (.nii, .nii.gz) or .mgz"
        ) from error
    if not isinstance(header, SpatialImage):
        raise InputError(f"{path}: not a volume but {type(header).__name__}; give NIfTI (.nii, .nii.gz) or .mgz")
    _check_header(header, path)

    # squeeze: a single volume may come as (X, Y, Z, 1)
    loader = LoadImage(reader=NibabelReader(squeeze_non_spatial_dims=True), ensure_channel_first=True, simple_keys=True)
    try:
        _check_gzip(file)
        image = loader(file)
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: the file is damaged or cut short ({_first_line(error)}); copy or download it again"
        ) from error
    values = image.as_tensor()
    bad = values.numel() - int(torch.isfinite(values).sum())
    if bad:
        raise InputError(f"{path}: {bad} voxels are NaN or infinite; replace them, by 0 for instance")
    # The rest is the file's header: batches could not mix formats with it.
    meta = {key: image.meta[key] for key in _KEPT_META}
    meta["spatial_shape"] = np.asarray(meta["spatial_shape"], dtype=np.int64)
    return MetaTensor(values, meta=meta)


def _check_gzip(file: Path) -> None:
    """Read a gzip file to its end, where its checksum is: nibabel stops before, and returns what damage has made."""
    with file.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
    if compressed:
        with gzip.open(file) as stream:
            while stream.read(1 << 20):
                pass


def _check_header(image: SpatialImage, path: str | Path) -> None:
    shape = tuple(int(n) for n in image.shape)
    size = "x".join(str(n) for n in shape)
    kind = image.get_data_dtype()
    if kind.fields is not None:
        raise InputError(f"{path}: a colour (RGB) image of {size} voxels; give a grey-value image with one 3-D volume")
    if kind.kind not in "buif":
        raise InputError(f"{path}: voxels of type {kind}; give an image of real numbers")
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(f"{path}: a 2-D image ({size}); give a 3-D volume")
    if min(shape[:3]) < MIN_SIZE:
        raise InputError(f"{path}: only {min(shape[:3])} voxels along an axis ({size}); give at least {MIN_SIZE}")
    if any(n != 1 for n in shape[3:]):
        raise InputError(f"{path}: {len(shape)}-D with several volumes ({size}); extract one 3-D volume")
    affine = np.asarray(image.affine)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{path}: the header's affine is singular or not finite; repair sform and qform")


def _existing(path: str | Path) -> Path:
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise InputError(f"{path}: a folder, not a file; give the path of a file")
        size = file.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({_first_line(error)}); check its permissions") from error
    if size == 0:
        raise InputError(f"{path}: the file has zero bytes; copy or download it again")
    return file


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
