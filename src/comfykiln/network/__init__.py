"""Everything that goes over the network, and what it is told by the machine."""
