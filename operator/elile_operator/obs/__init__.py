"""What people see of a running operator: logs without secrets, metrics, and health that tells the truth."""
