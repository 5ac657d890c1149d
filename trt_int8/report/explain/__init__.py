"""From records to answers: precisions, reasons and findings."""
