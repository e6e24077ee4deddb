"""The parts of an inventory: service users, folders of files, the local store, and the state of each certificate."""
