"""Who changed what: one append-only row for each change, sealed into a chain."""
