"""The demo models: made here, from data that ships, by recipes that are seeded and recorded."""
