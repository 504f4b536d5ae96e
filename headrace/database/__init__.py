"""The SQL database that gateway and registry share; no stage knows of it."""
