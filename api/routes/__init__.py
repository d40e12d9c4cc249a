"""The routes, a module for each first part of their path."""
