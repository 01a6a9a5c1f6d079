"""Facts on the disk: records, sample stores, shards of unfinished work."""
