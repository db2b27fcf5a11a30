"""What claims about speed, size and cost rest on: `make bench`. Ratios in one run, no absolute promises."""
