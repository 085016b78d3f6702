"""Files that must survive: durable writes, hashes, one directory an artefact."""
