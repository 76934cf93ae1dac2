"""Protection of rare and extreme values, and attacks that measure what the twin gives away."""
