"""What formats are made of: their base classes, conversion to TFLite, and SavedModels."""
