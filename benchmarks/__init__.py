"""What one validation costs, as ratios measured in one run. Run with `make bench`."""
