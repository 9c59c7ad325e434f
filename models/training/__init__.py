"""LightCap's training: from public checkpoints and captions to files that lightcap-convert takes."""
