"""What a user gets from `pip install`."""
