"""What runs a loaded version: uint8 (N, H, W, 3) -> float32 (N,)."""
