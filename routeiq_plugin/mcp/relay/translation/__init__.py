"""Between the generations of the protocol: clients and servers that share no version talk all the same."""
