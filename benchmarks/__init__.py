"""Measurements that a shared machine can make: ratios against stock in the same run, and counts inside one process."""
