"""Views on a precision report: text, CSV, Markdown, HTML. JSON is `PrecisionReport.to_json`."""
