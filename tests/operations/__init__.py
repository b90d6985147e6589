"""What operators use: settings, doctor, export, rotation, and what the proxy tells of its faults."""
