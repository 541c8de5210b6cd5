"""Raw files to a corpus: plan, read, convert, clean, sort, shard; here or on Ray."""
