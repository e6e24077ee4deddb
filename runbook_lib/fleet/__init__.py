"""Batches: one notebook for many accounts, on one machine or a cluster, sealed in one bag."""
