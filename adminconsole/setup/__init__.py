"""The first-run wizard. Its addresses exist only until Hearth is set up (middleware.SetupGate)."""
