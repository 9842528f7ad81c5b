"""What has to do with the Hub: registration, strict loading, publishing, model cards."""
