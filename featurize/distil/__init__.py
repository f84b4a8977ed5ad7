"""A small backbone of one's own, trained to imitate a large one."""
