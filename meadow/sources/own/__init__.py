"""A source without code: what a TOML file says of one, and how its rows are made from that.

`form` is what such a file may say, `template` the texts with columns in them, `rows` reads and
converts by both, and `source` makes a `Source` of it. Nothing in a file is ever executed.
"""
