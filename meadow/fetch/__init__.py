"""Raw files of a source from elsewhere: downloads, archive members, crawls, and the lock file."""
