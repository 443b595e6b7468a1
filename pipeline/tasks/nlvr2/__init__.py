"""NLVR2: statements about two pictures."""
