"""What a notebook or a test calls: issue, verify, access, inventory, doctor, troubleshoot."""
