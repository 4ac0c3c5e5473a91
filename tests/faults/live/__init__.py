"""`make test-faults`: what takes minutes, or a program from the system's packages. Not part of `make test`."""
