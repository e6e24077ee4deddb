"""Many accounts: one notebook for each, on one machine or on a cluster, sealed in one bag."""
