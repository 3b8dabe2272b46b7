"""Parley: agents that share out work by bargaining."""
