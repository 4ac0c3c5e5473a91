"""Stored files of the institution, and the tables that go out of and come into resources."""
