"""What an inventory is made of: service users, folders of files, the local store, and how each certificate stands."""
