"""Training: one LightningModule, policies as callbacks."""
