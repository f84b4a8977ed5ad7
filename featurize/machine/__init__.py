"""What the machine has and allows: memory, disk, threads."""
