"""What must survive: agents, the revision that other workers follow, and the trail of who changed what."""
