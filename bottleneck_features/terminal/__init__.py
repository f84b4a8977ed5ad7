"""What people see in a terminal: progress, tables, scores, names made safe to print."""
