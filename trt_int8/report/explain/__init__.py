"""Raw facts → kinds, precisions, reasons and findings."""
