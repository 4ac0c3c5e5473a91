"""Signing up: whoever proves an e-mail address gets an institution.

`asking` takes the wish and its proof, `carrying_out` writes the letters and makes the institution, from rows alone, so
what a dead process left is done by the next.
"""
