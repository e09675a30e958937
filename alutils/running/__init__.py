"""From cells to records: one round, the engine, the cluster it runs on."""
