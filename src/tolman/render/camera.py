"""A pinhole camera: x right, y down, z forward; poses are camera to world."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


def intrinsics(size: tuple[int, int], fov: float) -> Floats:
    """(3, 3) matrix of a camera of `size` (height, width) pixels whose shorter side spans `fov` radians; the
    middle of the first pixel is (0.5, 0.5)."""
    height, width = size
    focal = min(height, width) / (2 * np.tan(fov / 2))
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def pose(position: npt.ArrayLike, yaw: float, pitch: float) -> Floats:
    """(4, 4) camera to world: standing at `position` (3,), looking towards yaw (radians from +x towards +y)
    and pitch (radians, up positive), head level."""
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    forward = np.array([cy * cp, sy * cp, sp])
    right = np.array([sy, -cy, 0.0])
    down = np.cross(forward, right)
    out = np.eye(4)
    out[:3, :3] = np.stack([right, down, forward], axis=1)
    out[:3, 3] = position
    return out


def rays(matrix: Floats, size: tuple[int, int], shift: tuple[float, float] = (0.5, 0.5)) -> Float32:
    """(3, height * width) directions in the camera's frame, their z is 1; `shift` is the point within the
    pixel (across, down)."""
    height, width = size
    x = (np.arange(width) + shift[0] - matrix[0, 2]) / matrix[0, 0]
    y = (np.arange(height) + shift[1] - matrix[1, 2]) / matrix[1, 1]
    out = np.empty((3, height, width), np.float32)
    out[0], out[1], out[2] = x[None, :], y[:, None], 1.0
    return out.reshape(3, -1)


def turned(directions: Float32, pose_44: Floats) -> Float32:
    """Directions (3, n) of the camera's frame in the world's. Written out, as a matrix product's last bits
    may depend on the number of threads."""
    r = pose_44[:3, :3].astype(np.float32)
    x, y, z = directions
    return np.stack([r[k, 0] * x + r[k, 1] * y + r[k, 2] * z for k in range(3)])
