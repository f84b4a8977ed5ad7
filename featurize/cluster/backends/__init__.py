"""What joblib's backends for clusters lack: an answer for every task, as it comes."""
