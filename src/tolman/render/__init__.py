"""Scenes as pictures, on a CPU: furniture from boxes, camera walks, ray casting to RGB, depth and item
ids."""
