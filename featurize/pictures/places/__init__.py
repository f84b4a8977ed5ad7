"""Pictures that are no files of a disk: in an archive, or at an address of object storage."""
