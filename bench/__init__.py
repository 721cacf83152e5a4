"""Figures on the lab: never a verdict, always with how they were measured."""
