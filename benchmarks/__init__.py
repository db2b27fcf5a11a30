"""What claims about speed, size and cost rest on: `make bench`. Ratios within one run, no absolute promises."""
