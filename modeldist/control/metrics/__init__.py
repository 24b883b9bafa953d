"""What the control plane does, for Prometheus."""
