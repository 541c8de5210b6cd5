"""A source without code: what a TOML file says of one, and how its rows are made from that.

`form` is what such a file may say, `template` the texts with columns in them; `reader` reads its
raw files, `rows` makes records, `source` a `Source` of it all, `guess` a first file by looking at
raw rows; `installed` finds those of packages. Nothing in a file is ever executed.
"""
