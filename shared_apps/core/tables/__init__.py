"""Tables of a resource's rows, in CSV and XLSX: out of the institution and into it."""
