"""What other programs load: examples, tasks, logs and adapters of finished runs."""
