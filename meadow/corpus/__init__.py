"""A folder that a manifest commits: the manifest, its shards, and how they are read and written."""
